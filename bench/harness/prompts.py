"""Prompts for measurements: plain sentences put together at random, the same for the same seed."""

import random

WHO = """the miller|an old sailor|my neighbour|the clockmaker|a young painter|the gardener|our teacher|the night watchman|a travelling
merchant|the baker's daughter|the ferryman|a quiet librarian|the astronomer|two brothers|the village doctor|a retired engineer""".replace("\n", " ").split("|")
DID = """walked to|wrote about|remembered|repaired|looked for|painted|measured|carried away|described|kept a map of|dreamed of|counted
the steps to|bought|sold|lost|found""".replace("\n", " ").split("|")
WHAT = """the stone bridge|a wooden boat|the northern lighthouse|an empty garden|the market square|a bundle of letters|the railway station|the
broken clock|a field of barley|the narrow staircase|a box of tools|the river bank|a silver compass|the old orchard|the school
bell|a jar of honey""".replace("\n", " ").split("|")
WHEN = """before sunrise|late in the evening|on the first day of spring|during the long winter|while it rained|after the harvest|every
second Sunday|when the tide was low|without a word|as slowly as possible|with great care|for the third time""".replace("\n", " ").split("|")
LINK = ["and then", "because", "although", "so", "while", "but", "until", "just as"]


def sentence(source):
    def clause():
        return f"{source.choice(WHO)} {source.choice(DID)} {source.choice(WHAT)} {source.choice(WHEN)}"

    text = clause()
    if source.random() < 0.5:
        text += f", {source.choice(LINK)} {clause()}"
    if source.random() < 0.2:
        text += f", in the year {source.randint(1700, 1950)}"
    return text[0].upper() + text[1:] + "."


def text(words, seed):
    """About `words` words, exactly the same for the same arguments."""
    source = random.Random(seed)
    out, count = [], 0
    while count < words:
        out.append(sentence(source))
        count += out[-1].count(" ") + 1
    return " ".join(" ".join(out).split(" ")[:words])
