"""Write a store of hidden states on a Ray cluster: python -m extract.cluster --config=quickstart.py --shards=8

Every shard is an actor, on a GPU if the cluster has GPUs. An actor whose process or node is lost is restarted and
continues after its last published part. Nothing is uploaded: all nodes need the same checkout and Python packages, and
they must see the driver's working directory (relative paths refer to it) or use buckets (--config.store=s3://...). See
docs/guide/scaling.md.
"""

from __future__ import annotations

from absl import app, flags

from extract.job.cluster import Cluster, extract_on_cluster
from extract.job.open import closing_line, open_or_extract
from extract.plan import plan_from_config
from relope_jax.config import define_config_flag, parse_flags
from relope_jax.errors import exit_on_error
from relope_jax.states.store import Store

if __name__ == "__main__":
    _CONFIG = define_config_flag()
    _SHARDS = flags.DEFINE_integer("shards", None, "number of shards", 1, required=True)
    _ADDRESS = flags.DEFINE_string("address", "", "a running cluster: auto or ray://host:10001; empty starts one here")
    _GPUS = flags.DEFINE_float("gpus_per_shard", None, "default: 1 if the cluster has GPUs, else 0", 0)
    _CPUS = flags.DEFINE_float("cpus_per_shard", 1, "also PyTorch's threads", 0)
    _RETRIES = flags.DEFINE_integer("retries", 3, "how often a lost shard is restarted", 0)

    @exit_on_error
    def main(_: list[str]) -> None:
        plan = plan_from_config(_CONFIG.value)
        extract_on_cluster(plan, _SHARDS.value, Cluster(_ADDRESS.value, _GPUS.value, _CPUS.value, _RETRIES.value))
        Store(plan.store)  # raises if unfinished; the next line would extract it in this process
        print(closing_line(open_or_extract(plan)))

    app.run(main, flags_parser=parse_flags)
