"""How well the running `dev` transcribes: sends it fixtures, and compares what `calls show` prints with their scripts.

score.py [--program FILE] [--data-dir DIR] [NAME...]    all fixtures unless named

Exit code 1 if less than 90 % of the words of a call are right, or words of one speaker are given to the other. A word
is right when it stands at its place under the right speaker; a word too many counts as a wrong one. Case, punctuation
and apostrophes do not count, and numbers count by digit: "4417" is "four four one seven"."""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

FIXTURES = Path(__file__).parents[2] / "fixtures" / "calls"
LEAST = 0.9
# Seconds that a call may take.
PATIENCE = 300
NUMBERS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen"""
ORDINALS = "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
ONES = {word: number for names in (NUMBERS, ORDINALS) for number, word in enumerate(names.split())} | {"fifteenth": 15}
TENS = {word: 10 * number for number, word in
        enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)}


def words(text):
    """The words to compare; numbers as single digits."""
    tokens = re.findall(r"[^\W\d_]+|\d+(?=st|nd|rd|th)|\d+", re.sub(r"['’]", "", text.lower()))
    found = []
    tens = None
    for token in tokens:
        if tens is not None and 0 < ONES.get(token, 0) < 10:
            found[-1] = str(ONES[token])
            tens = None
            continue
        tens = TENS.get(token)
        number = tens or ONES.get(token)
        if token.isdigit() or number is not None:
            found.extend(token if token.isdigit() else str(number))
        elif not (token in ("st", "nd", "rd", "th") and found and found[-1].isdigit()):
            found.append(token)
    return found


def align(said, heard):
    """The cheapest way from one list to the other: pairs, with None where a word was left out or added."""
    rows = [[(index, None) for index in range(len(heard) + 1)]]
    for i, one in enumerate(said, start=1):
        row = [(i, None)]
        for j, other in enumerate(heard, start=1):
            row.append(min((rows[-1][j - 1][0] + (one != other), "both"), (rows[-1][j][0] + 1, "left out"),
                           (row[-1][0] + 1, "added")))
        rows.append(row)
    pairs, i, j = [], len(said), len(heard)
    while i or j:
        step = rows[i][j][1] if i and j else "left out" if i else "added"
        i, j = i - (step != "added"), j - (step != "left out")
        pairs.append((said[i] if step != "added" else None, heard[j] if step != "left out" else None))
    return pairs[::-1]


def by_speaker(segments, key):
    spoken = {}
    for segment in segments:
        spoken.setdefault(segment[key], []).extend(words(segment["text"]))
    return spoken


def misplaced(said, heard):
    """Words that a speaker did not say, but another one did and is not given."""
    wrong = {speaker: [[], []] for speaker in {*said, *heard}}
    for speaker, (missing, added) in wrong.items():
        for one, other in align(said.get(speaker, []), heard.get(speaker, [])):
            if one != other:
                missing.extend([one] if one else [])
                added.extend([other] if other else [])
    return sum(word in missing for speaker, (_, added) in wrong.items() for word in added
               for other, (missing, _) in wrong.items() if other != speaker)


def score(name, transcript):
    """Prints the figures of a call; gives back whether they are good enough, its words and errors."""
    said = by_speaker(json.loads((FIXTURES / f"{name}.json").read_text())["segments"], "channel")
    heard = by_speaker(transcript["segments"], "speaker")
    total, errors = 0, 0
    for speaker in sorted({*said, *heard}):
        pairs = align(said.get(speaker, []), heard.get(speaker, []))
        wrong = [f"{one or '-'}>{other or '-'}" for one, other in pairs if one != other]
        count = len(said.get(speaker, []))
        right = 1 - len(wrong) / count if count else 0.0
        total, errors = total + count, errors + len(wrong)
        print(f"{name:14} {speaker:9} {count:4} words {right:7.1%} right  {' '.join(wrong)}")
    lost = misplaced(said, heard)
    if lost > 1:  # one may be chance
        print(f"{name:14} {lost} words are given to the wrong speaker")
    return errors <= total * (1 - LEAST) and lost <= 1, total, errors


class Dev:
    """The running `dev`, through its own commands."""

    def __init__(self, program, data_dir):
        self.program, self.data_dir = program, data_dir

    def run(self, *arguments):
        command = [self.program, *arguments, "--data-dir", self.data_dir]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit((done.stderr or done.stdout).strip())
        return done.stdout

    def transcript(self, name):
        told = self.run("simulate", "--call", name)
        call = re.search(r"calls show (\S+)", told).group(1)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            shown = json.loads(self.run("calls", "show", call, "--transcript", "--json"))
            if shown["state"] in ("completed", "failed"):
                break
            time.sleep(1)
        if not shown.get("transcript"):
            raise SystemExit(f"{name}: the call {call} is {shown['state']} and has no transcript.")
        return shown["transcript"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/debug/goto-automation")
    parser.add_argument("--data-dir", default=".dev")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    dev = Dev(arguments.program, arguments.data_dir)
    names = arguments.names or sorted(file.stem for file in FIXTURES.glob("*.json"))
    scores = [score(name, dev.transcript(name)) for name in names]
    total, errors = sum(score[1] for score in scores), sum(score[2] for score in scores)
    print(f"{'all':24} {total:4} words {1 - errors / total:7.1%} right")
    return 0 if all(score[0] for score in scores) else 1


if __name__ == "__main__":
    sys.exit(main())
