"""Small data sets in the layouts in which their publishers hand them out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from petl_bench.dataset_config import DatasetConfig

EPIC_COLUMNS = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,"
    "stop_frame,narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
)


def config(kind: str, root: Path, classes: int, **fields: Any) -> DatasetConfig:
    source = {"kind": kind, **fields.pop("source", {})}
    return DatasetConfig(name="mine", summary="", classes=classes, source=source, root=str(root), **fields)


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def ucf101(root: Path) -> Path:
    """Two classes, two splits; classInd.txt has the publisher's DOS line ends."""
    splits = root / "ucfTrainTestlist"
    write(splits / "classInd.txt", "1 ApplyEyeMakeup\r\n2 HandstandPushups\r\n")
    write(splits / "trainlist01.txt",
          "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\nHandstandPushups/v_HandStandPushups_g08_c01.avi 2\n"
          "HandstandPushups/v_HandStandPushups_g09_c01.avi 2\n")  # fmt: skip
    write(splits / "testlist01.txt", "HandstandPushups/v_HandStandPushups_g01_c01.avi\n"
          "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\n")  # fmt: skip
    write(splits / "trainlist02.txt", "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi 1\n")
    write(splits / "testlist02.txt", "HandstandPushups/v_HandStandPushups_g08_c01.avi\n")
    names = {line.split()[0] for file in splits.glob("t*list*.txt") for line in file.read_text().splitlines()}
    touch(*(root / "UCF-101" / name for name in names))
    return root


def hmdb51(root: Path) -> Path:
    """Two classes; names with the marks that the publisher's have, lines with a space at their end."""
    splits, videos = root / "testTrainMulti_7030_splits", root / "hmdb51_org"
    rows = {
        "clap": ["#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi 1 ", "a&b;(c)[d]_clap_f_cm.avi 2 ", "x_clap.avi 0 "],
        "brush_hair": [
            "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 ",
            "b_brush_hair.avi 1 ",
            "c_brush.avi 2 ",
        ],
    }
    for name, lines in rows.items():
        write(splits / f"{name}_test_split1.txt", "\n".join(lines) + "\n")
        write(splits / f"{name}_test_split2.txt", "\n".join(reversed(lines)).replace(" 1 ", " 2 ") + "\n")
        touch(*(videos / name / line.split()[0] for line in lines))
    return root


def diving48(root: Path) -> Path:
    words = [
        ["Back", "15som", "05Twis", "FREE"],
        ["Back", "15som", "NoTwis", "PIKE"],
        ["Inward", "25som", "TUCK"],
    ]
    write(root / "Diving48_vocab.json", json.dumps(words))
    for split, count in (("train", 5), ("test", 2)):
        rows = [
            {"vid_name": f"o8F_{split}_{i:05d}", "label": i % 3, "start_frame": 0, "end_frame": 90 + i}
            for i in range(count)
        ]
        write(root / f"Diving48_V2_{split}.json", json.dumps(rows))
        touch(*(root / "rgb" / f"{row['vid_name']}.mp4" for row in rows))
    return root


def epic(root: Path, rows: dict[str, list[tuple[str, str, str, int, int]]]) -> Path:
    """`rows`: split -> (video, start, stop, verb class, noun class); three verbs and four nouns."""
    folder = root / "epic-kitchens-100-annotations"
    for split, actions in rows.items():
        lines = [EPIC_COLUMNS]
        for number, (video, start, stop, verb, noun) in enumerate(actions):
            lines.append(
                f"{video}_{number},{video[:3]},{video},00:00:01.089,{start},{stop},8,202,open door,open,{verb},"
                f"door,{noun},\"['door', 'tap']\",\"[{noun}, 3]\""
            )
        write(folder / f"EPIC_100_{split}.csv", "\n".join(lines) + "\n")
    verbs = ["0,take,\"['take', 'get']\",retrieve", "1,put,['put'],leave", "2,wash,['wash'],clean"]
    nouns = [
        "0,tap,['tap'],appliances",
        "1,spoon,\"['spoon', 'tea:spoon']\",cutlery",
        "2,plate,['plate'],crockery",
    ]
    for what, lines in (("verb", verbs), ("noun", [*nouns, "3,cupboard,['cupboard'],furniture"])):
        write(
            folder / f"EPIC_100_{what}_classes.csv", "\n".join(["id,key,instances,category", *lines]) + "\n"
        )
    return root
