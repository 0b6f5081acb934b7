"""The registry tables: public name -> "module:attribute". One place to read what there is."""

from collections.abc import Mapping

__all__ = [
    "DATASETS",
    "EXPORTERS",
    "EXTRAS",
    "INSTANT",
    "LAUNCHERS",
    "METHODS",
    "MODELS",
    "PACKABLE",
    "STOP_RULES",
]

#: Search methods: each a `sweepd.search.Method`.
METHODS: Mapping[str, str] = {
    "grid": "sweepd.search.grid:Grid",
    "random": "sweepd.search.random:Random",
    "bayes": "sweepd.search.bayes:Bayes",
    "tpe": "sweepd.search.tpe:Tpe",
    "cmaes": "sweepd.search.cmaes:CmaEs",
    "nsga2": "sweepd.search.nsga2:Nsga2",
    "qmc": "sweepd.search.qmc:Qmc",
}

#: Those whose configs the service makes itself when an agent asks: `sweepd.search.Instant`.
INSTANT = frozenset({"grid", "random", "qmc"})

#: Search methods that cannot run without an extra: its name, and the modules that it brings.
EXTRAS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "tpe": ("optuna", ("optuna",)),
    "cmaes": ("optuna", ("cmaes",)),
    "nsga2": ("optuna", ("optuna",)),
}

#: Stop rules: each a `sweepd.search.StopRule`.
STOP_RULES: Mapping[str, str] = {
    "hyperband": "sweepd.search.hyperband:Hyperband",
    "asha": "sweepd.search.asha:Asha",
    "median": "sweepd.search.median:Median",
    "threshold": "sweepd.search.threshold:Threshold",
    "plateau": "sweepd.search.plateau:Plateau",
    "nan": "sweepd.search.nan:Nan",
}

#: Ways to start agents.
LAUNCHERS: Mapping[str, str] = {
    "local": "sweepd_agent.launchers.local:Local",
    "docker": "sweepd_agent.launchers.docker:Docker",
    "slurm": "sweepd_agent.launchers.slurm:Slurm",
    "ray": "sweepd_agent.launchers.ray:Ray",
    "k8s": "sweepd_agent.launchers.k8s:Kubernetes",
}

#: Models of the shared training function.
MODELS: Mapping[str, str] = {
    "convnet": "sweepd_trainer.models:convnet",
    "lenet": "sweepd_trainer.models:lenet",
    "mlp": "sweepd_trainer.models:mlp",
    "resnet9": "sweepd_trainer.models:resnet9",
    "resnet18": "sweepd_trainer.models:resnet18",
}

#: Data sets of the shared training function.
DATASETS: Mapping[str, str] = {
    "digits": "sweepd_trainer.data:digits",
    "mnist": "sweepd_trainer.data:mnist",
    "fashion_mnist": "sweepd_trainer.data:fashion_mnist",
    "cifar10": "sweepd_trainer.files:cifar10",
    "cifar100": "sweepd_trainer.files:cifar100",
}

#: Who wrote a checkpoint -> the hook that rebuilds its model for an export.
EXPORTERS: Mapping[str, str] = {
    "sweepd_trainer": "sweepd_trainer.export:rebuild",
}

#: Parameters of the shared training function in which the trials of one pack may differ.
PACKABLE = frozenset(
    {
        "checkpoint_s",
        "ema",
        "grad_clip",
        "label_smoothing",
        "learning_rate",
        "momentum",
        "patience",
        "schedule",
        "seed",
        "warmup",
        "weight_decay",
    }
)
