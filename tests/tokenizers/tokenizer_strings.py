"""Test strings, made from a seed: the scripts of the world, emoji and ZWJ sequences, combining marks, code,
white-space runs, numbers, control characters, random Unicode, and texts of special tokens."""
import random
import unicodedata

SENTENCES = [
    "The quick brown fox jumps over the lazy dog.", "It's John's; we'll see, they've won, I'M HERE, YOU'RE IT.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.", "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.",
    "我能吞下玻璃而不伤身体。今天是2024年11月22日。", "私はガラスを食べられます。それは私を傷つけません。", "나는 유리를 먹을 수 있어요. 그래도 아프지 않아요",
    "أنا قادر على أكل الزجاج و هذا لا يؤلمني.", "אני יכול לאכול זכוכית וזה לא מזיק לי.", "मैं काँच खा सकता हूँ और मुझे उससे कोई चोट नहीं पहुंचती.",
    "আমি কাঁচ খেতে পারি, তাতে আমার কোনো ক্ষতি হয় না।", "நான் கண்ணாடி சாப்பிடுவேன், அதனால் எனக்கு ஒரு கேடும் வராது.",
    "ฉันกินกระจกได้ แต่มันไม่ทำให้ฉันเจ็บ", "Tôi có thể ăn thủy tinh mà không hại gì.", "Ik kan glas eten, het doet geen pijn. Ça va? Größe, Straße, ẞ",
    "მინას ვჭამ და არა მტკივა.", "Կրնամ ապակի ուտել և ինծի անհանգիստ չըներ։", "ኮሚኒስት ሰላም ለሁላችሁ", "ᚠᛇᚻ᛫ᛒᛦᚦ᛫ᚠᚱᚩᚠᚢᚱ", "ཤེལ་སྒོ་ཟ་ནས་ང་ན་གི་མ་རེད།",
    "က္ယ္ဝန္တော္၊က္ယ္ဝန္မ မ္ယက္စားနုိင္သည္။", "ខ្ញុំអាចញុំកញ្ចក់បាន", "ʻO wau ke ʻai i ke aniani", "İstanbul'da ığdır, ǅ ǈ ŉ ſ ﬁ ﬅ",
]
CODE = [
    "def f(x):\n    return [i ** 2 for i in range(x) if i % 3 == 0]\n", "for (int i=0;i<n;++i){\n\tsum += a[i]*b[i];\n}\n",
    "#include <vector>\nint main() { std::cout << \"hi\\n\"; return 0; }", "SELECT * FROM t WHERE a='b' AND c<>3;--x", "<div class=\"a\">\n\t\t<p>x &amp; y</p>\n</div>",
    "{\"key\": [1, 2.5e-3, null, true], \"b\": {}}", "https://example.org/a/b?x=1&y=%20#frag", "\\frac{a}{b} \\sum_{i=0}^{n} x_i^2", "if err != nil {\r\n\treturn err\r\n}\r\n",
    "a->b::c<d>&e|f^g~h!i@j#k$l%m", "CamelCaseIdentifier snake_case_name SCREAMING_CASE XMLHttpRequest iPhone", "x=1;y=22;z=333;w=4444;v=55555;u=1234567",
]
EMOJI = ["😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "❤️", "☕", "1️⃣", "🧑🏿‍🚀", "😵‍💫", "©", "™", "→", "∑", "½", "²", "①", "Ⅷ", "٣", "४", "〇", "㈠"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\u00a0", "\u3000", "\u2003", "\u2028", "\u0085", "\u200b", "\ufeff", "\v", "\f", "\x1c", "\x1f", " \n ", "\n \n"]
APOSTROPHES = ["'s", "'S", "'t", "'re", "'RE", "'Ve", "'m", "'ll", "'LL", "'d", "'ſ", "’s", "'", "''s", "'x", "'l", "'r"]

# What one family or another cuts in its own way.
CUTS = ["IMGIMGABZ", "aIMGIMGIZb", "IMGIMGABCDEZ", "IMGIMGZ", "IMGIMGAJZ", "<sentinel:12>", "    ", "  \t", " a b  c d", "é e\u0301 e\u0301x ", "ㄅㄆㄇㄯ",
        "ㄱㆎ가힣", "！…“”‘’—：；，、。「」︰﹏", "一龥龦ぁゟ゠ヿ", "?!/\n/\r\n", "!\n\n", "\n\n ", "▁▁", "1234567", "１２３४५६"]


def random_char(rng):
    kind = rng.random()
    while True:
        if kind < 0.3:
            c = rng.randrange(0x20, 0x250)
        elif kind < 0.5:
            c = rng.randrange(0x250, 0x2000)
        elif kind < 0.6:
            c = rng.randrange(0x2000, 0x3300)
        elif kind < 0.8:
            c = rng.randrange(0x3300, 0x10000)
        else:
            c = rng.randrange(0x10000, 0x20000)
        # Unassigned code points get their category from the Unicode version of each program.
        if unicodedata.category(chr(c)) not in ("Cs", "Cn"):
            return chr(c)


def random_text(rng):
    return "".join(random_char(rng) for _ in range(rng.randrange(1, 24)))


def mixed(rng, special):
    parts = []
    for _ in range(rng.randrange(1, 9)):
        pick = rng.randrange(13)
        if pick < 3:
            sentence = rng.choice(SENTENCES)
            start = rng.randrange(len(sentence))
            parts.append(sentence[start:start + rng.randrange(1, 20)])
        elif pick == 3:
            code = rng.choice(CODE)
            start = rng.randrange(len(code))
            parts.append(code[start:start + rng.randrange(1, 25)])
        elif pick == 4:
            parts.append(rng.choice(EMOJI) * rng.choice([1, 1, 1, 2, 3]))
        elif pick < 7:
            parts.append(rng.choice(SPACES) * rng.choice([1, 1, 1, 1, 2, 3, 7]))
        elif pick == 7:
            parts.append(str(rng.randrange(10 ** rng.randrange(1, 14))))
        elif pick == 8:
            parts.append("".join(chr(rng.randrange(0x300, 0x370)) for _ in range(rng.randrange(1, 4))))
        elif pick == 9:
            parts.append(rng.choice(APOSTROPHES))
        elif pick == 10:
            parts.append("".join(chr(rng.choice([rng.randrange(0x20), rng.randrange(0x7f, 0xa0)])) for _ in range(2)))
        elif pick == 11:
            parts.append(random_text(rng))
        else:
            parts.append(rng.choice(special) if special else "▁" * rng.randrange(1, 4))
    return "".join(parts)


def strings(count, seed, special=()):
    rng = random.Random(seed)
    special = list(special)
    out = SENTENCES + CODE + EMOJI + SPACES + APOSTROPHES + ["", " a", "a ", "a" * 500, " " * 300, "\n" * 100, "ab" * 300, "é" * 100, "字" * 200]
    out += ["".join(rng.choice("aAzZ019 '.,!-_\n\t/éÉ字ا") for _ in range(rng.randrange(1, 40))) for _ in range(count // 4)]
    while len(out) < count:
        out.append(mixed(rng, special))
    return out
