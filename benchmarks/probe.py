"""A linear probe of sex on real brains: a frozen encoder against smoothed thumbnails.

    python benchmarks/probe.py --run RUN --cohort FOLDER_OF_BIDS_FOLDERS [--quick]

RUN is a finished run; COHORT holds one BIDS folder a site, with sex in participants.tsv. Every subject
of every site is embedded, whether the encoder was trained on it or not: the labels were never seen.
Ends with one JSON line.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from braing3n.config import load_site_config
from braing3n.data.site_data import open_site_data
from braing3n.evaluation.labelled import LabelledSet
from braing3n.evaluation.probes import cross_validate
from braing3n.evaluation.tasks import load_tasks
from braing3n.evaluation.thumbnails import thumbnails
from braing3n.models.mae import Encoder
from braing3n.plan import load_plan
from braing3n.presets import PRESETS
from braing3n.weights import load_weights
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files

SEX = 1  # place of sex in the six conditions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="one draw of the folds, not five")
    options = parser.parse_args()
    preset = PRESETS[load_plan(options.run / "plan.yaml").preset]
    encoder = Encoder(preset).eval()
    encoder.load_state_dict(load_weights(options.run / "model" / "encoder.safetensors"))
    task = load_tasks()["sex"]
    volumes, labels, subjects, places = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        sites = write_site_files(find_site_folders(options.cohort), Path(folder))
        for path in sorted(sites.glob("*.yaml")):
            data = open_site_data(load_site_config(path), preset)
            examples = [e for e in (*data.train, *data.held_out) if not np.isnan(e.conditions[SEX])]
            volumes.append(data.volumes(examples))
            labels += ["FM"[int(example.conditions[SEX])] for example in examples]
            subjects += [example.subject for example in examples]
            places += [path.stem] * len(examples)
    stacked = torch.cat(volumes)
    with torch.no_grad():
        embedded = torch.cat([encoder.embed(batch) for batch in stacked.split(8)]).numpy()
    width = preset.encoder.width
    features = {"mean_token": embedded[:, :width], "cls": embedded[:, width:], "both": embedded,
                "thumbnail": thumbnails(stacked).numpy()}
    figures: dict[str, float] = {"num_volumes": len(labels)}
    for name, values in features.items():
        labelled = LabelledSet(values.astype(np.float64), np.array(labels), np.array(subjects),
                               np.array(places))
        found = [cross_validate(task, labelled, seed).main for seed in range(1 if options.quick else 5)]
        # Intervals of the first draw of the folds; means over all draws.
        auc, low, high = np.mean([one.value for one in found]), found[0].low, found[0].high
        figures |= {f"{name}_auc": round(float(auc), 4), f"{name}_low": round(low, 4),
                    f"{name}_high": round(high, 4)}
        print(f"{name:12} AUC {auc:.3f} ({low:.3f} to {high:.3f})")
    print(json.dumps({"benchmark": "probe", "quick": options.quick, **figures}))


if __name__ == "__main__":
    main()
