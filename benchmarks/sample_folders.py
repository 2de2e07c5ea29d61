"""Prepares every folder of the sample data with one command each, twice, and prints the table of docs/data.md.

python benchmarks/sample_folders.py ../shared/data
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TEXT = "--missing-image text"  # pictures that are not included: their rows are kept as text
FOLDERS = (
    ("vqa_rad", "--size 512"),
    ("vqa_rad", "--size 512 --split official"),
    ("slake", f"{TEXT} --on-bad-row skip"),
    ("vqa_med_2019", TEXT),
    ("vqa_med_2021", TEXT),
    ("rocov2", "--size 512"),
    ("omnimedvqa", TEXT),
    ("text_qa", ""),
    ("vessels", "--size 512"),
    ("vessels/drive", "--size 512 --split official"),
    ("vessels/chase_db1", "--size 512"),
    ("vessels/stare", "--size 512"),
    ("model_outputs/blip2_zeroshot", ""),
)
COLUMNS = (
    "folder and options",
    "rows in",
    "rows out",
    "skipped",
    "images",
    "seconds",
    "images/s",
    "again, s",
)


def prepared(source: Path, out: Path, options: str) -> tuple[dict, float]:
    """What the command says, and the seconds it took from the shell."""
    started = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "medgrpo.cli.main",
        "preprocess",
        str(source),
        str(out),
        *options.split(),
    ]
    done = subprocess.run([*command, "--quiet", "--json"], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout), time.perf_counter() - started


def main(data: Path) -> None:
    print("| " + " | ".join((*COLUMNS, "conflicts", "leaks")) + " |")
    print("| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | --- |")
    with tempfile.TemporaryDirectory() as out:
        for number, (folder, options) in enumerate(FOLDERS):
            document, seconds = prepared(data / folder, Path(out) / str(number), options)
            again, again_s = prepared(data / folder, Path(out) / str(number), options)
            assert (again["hash"], again["pixels_hash"]) == (document["hash"], document["pixels_hash"])
            rows, skipped = sum(document["rows"].values()), document["skipped"]
            pictures = document["images"] + document["masks"]
            leaks = [f"{count} {kind.replace('_', ' ')}" for kind, count in document["leaks"].items()]
            figures = [
                f"`{folder} {options}`".replace(" `", "`"),
                f"{rows + sum(skipped.values()):,}",
                f"{rows:,}",
                ", ".join(f"{count} {reason}" for reason, count in skipped.items()) or "–",
                f"{pictures:,}",
                f"{seconds:.1f}",
                f"{pictures / seconds:.1f}" if pictures else "–",
                f"{again_s:.1f}",
                f"{document['conflicts']['pairs']:,}",
                ", ".join(leaks) or "–",
            ]
            print("| " + " | ".join(figures) + " |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    main(parser.parse_args().data)
