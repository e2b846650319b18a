"""The suite: four tasks drawn from real tables and pictures in ordinary packages; with easy-VQA they are five.

They stand in the roles of the paper's benchmarks where no benchmark is available: docs/design/suite.md.
"""
