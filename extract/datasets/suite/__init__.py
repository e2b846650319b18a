"""The suite: four tasks drawn from real tables and pictures in ordinary packages. With easy-VQA there are five.

They replace the paper's benchmarks where no benchmark is available: docs/design/suite.md.
"""
