// The families, each with the regular expressions of its published tokenizer.json (or tiktoken
// pattern). \p{L} = kLetter, \s = kSpace, and so on; see unicode.h. To add a family: a row below,
// and its expressions in tests/tokenizers/tokenizer_families.py, which checks the row against them.
#include "text/pretokenize.h"

namespace serval {
namespace {

using Contractions = WordRule::Contractions;
using Kind = Stage::Kind;

constexpr CharMask kAnything = 0x7FFF;
constexpr CharMask kNotLetterNumberNewline = kAnything & ~(kLetter | kNumber | kNewline);

constexpr Stage words(const WordRule& rule) { return {Kind::kWords, rule, {}}; }
constexpr Stage run(const RunRule& rule) { return {Kind::kRun, {}, rule}; }
constexpr Stage mask_run(CharMask mask, int max = INT_MAX) {
  return run({.set = {mask, {}}, .max = max});
}

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
constexpr WordRule kGpt2Words = {
    .contractions = Contractions::kLowerCase, .number_prefix = kBlank, .max_digits = INT_MAX};

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*
//   |\s*[\r\n]+|\s+(?!\S)|\s+
constexpr WordRule kLlama3Words = {.contractions = Contractions::kAnyCase,
                                   .prefix = kNotLetterNumberNewline,
                                   .max_digits = 3,
                                   .newline_tail = true,
                                   .newline_runs = true};

constexpr WordRule with_digits(WordRule rule, int max) {
  rule.max_digits = max;
  return rule;
}

constexpr WordRule qwen35_words() {  // [\p{L}\p{M}]+ and [^\s\p{L}\p{M}\p{N}]+
  WordRule rule = with_digits(kLlama3Words, 1);
  rule.letters |= kMark;
  rule.punct &= static_cast<CharMask>(~kMark);
  return rule;
}

constexpr WordRule without_contractions(WordRule rule) {
  rule.contractions = Contractions::kNone;
  return rule;
}

constexpr WordRule seed_coder_words() {
  WordRule rule = with_digits(kLlama3Words, 1);
  rule.newline_tail = false;
  return rule;
}

// [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|...)?
//   | the same with + and * | \p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
constexpr WordRule kO200kWords = {.contraction_suffix = true,
                                  .prefix = kNotLetterNumberNewline,
                                  .cased = true,
                                  .max_digits = 3,
                                  .newline_tail = true,
                                  .slash_tail = true,
                                  .newline_runs = true};

constexpr WordRule tekken_words() {
  WordRule rule = with_digits(kO200kWords, 1);
  rule.contraction_suffix = false;
  return rule;
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}
//   | ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+
constexpr WordRule exaone_moe_words() {
  WordRule rule = with_digits(kLlama3Words, 1);
  rule.phrases = true;
  rule.slash_tail = true;
  rule.max_tail = 1;
  return rule;
}

// [\p{Han}]+ first; letters exclude Han; no slash tail.
constexpr WordRule kimi_words() {
  WordRule rule = kO200kWords;
  rule.han_apart = true;
  rule.slash_tail = false;
  return rule;
}

// [!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*
//   |\s*[\r\n]+|\s+(?!\S)|\s+
constexpr WordRule kDeepseek3Words = {
    .prefix = kAnything & ~(kLetter | kPunct | kSymbol | kNewline),
    .letters = kLetter | kMark,
    .ascii_punct_word = true,
    .punct = kPunct | kSymbol,
    .newline_tail = true,
    .newline_runs = true};

// Youtu keeps four sets apart: Hangul, the punctuation of Chinese and Japanese, Bopomofo, and Han
// with kana.
constexpr CodeRange kYoutuHangul[] = {{0x3131, 0x318E}, {0xAC00, 0xD7A3}};
constexpr CodeRange kYoutuPunct[] = {{0x2014, 0x2014}, {0x2018, 0x2019}, {0x201C, 0x201D},
                                     {0x2026, 0x2026}, {0x3001, 0x303F}, {0xFE30, 0xFE4F},
                                     {0xFF01, 0xFF01}, {0xFF0C, 0xFF0C}, {0xFF1A, 0xFF1B}};
constexpr CodeRange kYoutuBopomofo[] = {{0x3105, 0x312F}};
constexpr CodeRange kDeepseekCjk[] = {{0x0800, 0x4E00}, {0x4E00, 0x9FA5}, {0xAC00, 0xD7FF}};
constexpr CodeRange kDeepseek3Cjk[] = {{0x3040, 0x309F}, {0x30A0, 0x30FF}, {0x4E00, 0x9FA5}};
constexpr CodeRange kDeepseekPunct[] = {{'!', '/'},       {':', '~'},       {0x2018, 0x201F},
                                        {0x3000, 0x3002}, {0xFF01, 0xFF0F}, {0xFF1A, 0xFF5E}};
// The letters of European scripts, as listed by the published pattern.
constexpr CodeRange kDeepseekLetters[] = {
    {0x0041, 0x005A},   {0x0061, 0x007A},   {0x00B5, 0x00B5},   {0x00C0, 0x00D6},
    {0x00D8, 0x00F6},   {0x00F8, 0x01BA},   {0x01BC, 0x01BF},   {0x01C4, 0x0293},
    {0x0295, 0x02AF},   {0x0370, 0x0373},   {0x0376, 0x0376},   {0x0377, 0x0377},
    {0x037B, 0x037D},   {0x037F, 0x037F},   {0x0386, 0x0386},   {0x0388, 0x038A},
    {0x038C, 0x038C},   {0x038E, 0x03A1},   {0x03A3, 0x03F5},   {0x03F7, 0x0481},
    {0x048A, 0x052F},   {0x0531, 0x0556},   {0x10A0, 0x10C5},   {0x13A0, 0x13F5},
    {0x13F8, 0x13FD},   {0x1C90, 0x1CBA},   {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},
    {0x1D6B, 0x1D77},   {0x1D79, 0x1D9A},   {0x1E00, 0x1F15},   {0x1F18, 0x1F1D},
    {0x1F20, 0x1F45},   {0x1F48, 0x1F4D},   {0x1F50, 0x1F57},   {0x1F59, 0x1F59},
    {0x1F5B, 0x1F5B},   {0x1F5D, 0x1F5D},   {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},
    {0x1FB6, 0x1FBC},   {0x1FBE, 0x1FBE},   {0x1FC2, 0x1FC4},   {0x1FC6, 0x1FCC},
    {0x1FD0, 0x1FD3},   {0x1FD6, 0x1FDB},   {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},
    {0x1FF6, 0x1FFC},   {0x2102, 0x2102},   {0x2107, 0x2107},   {0x210A, 0x2113},
    {0x2115, 0x2115},   {0x2119, 0x211D},   {0x2124, 0x2124},   {0x2126, 0x2126},
    {0x2128, 0x2128},   {0x212A, 0x212D},   {0x212F, 0x2134},   {0x2139, 0x2139},
    {0x213C, 0x213F},   {0x2145, 0x2149},   {0x214E, 0x214E},   {0x2183, 0x2183},
    {0x2184, 0x2184},   {0x2C00, 0x2C7B},   {0x2C7E, 0x2CE4},   {0x2CEB, 0x2CEE},
    {0x2CF2, 0x2CF2},   {0x2CF3, 0x2CF3},   {0xA640, 0xA66D},   {0xA680, 0xA69B},
    {0xA722, 0xA76F},   {0xA771, 0xA787},   {0xA78B, 0xA78E},   {0xAB70, 0xABBF},
    {0xFB00, 0xFB06},   {0xFB13, 0xFB17},   {0xFF21, 0xFF3A},   {0xFF41, 0xFF5A},
    {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB}, {0x10C80, 0x10CB2},
    {0x10CC0, 0x10CF2}, {0x118A0, 0x118DF}, {0x1E900, 0x1E943}};

constexpr CodeRange kFalconSymbols[] = {{'$', '$'}, {'+', '+'}, {'<', '>'}, {'^', '^'},
                                        {'`', '`'}, {'|', '|'}, {'~', '~'}};
constexpr CodeRange kDefaultSymbols[] = {{'$', '$'}, {'+', '+'}, {'<', '>'},
                                         {'^', '^'}, {'|', '|'}, {'~', '~'}};
constexpr CodeRange kAsciiDigits[] = {{'0', '9'}};
// ` ?[^(\s|.,!?...)]+`: the brackets and the bar are inside the class.
constexpr CodeRange kBloomStops[] = {{'!', '!'},       {'(', ')'},       {',', ','},
                                     {'.', '.'},       {'?', '?'},       {'|', '|'},
                                     {0x060C, 0x060C}, {0x06D4, 0x06D4}, {0x0964, 0x0964},
                                     {0x2026, 0x2026}, {0x3001, 0x3002}, {0xFF0C, 0xFF0C}};
constexpr CodeRange kAsianScripts[] = {
    {0x0E40, 0x0E7F}, {0x0E80, 0x0EFF}, {0x1000, 0x109F}, {0x1100, 0x11FF}, {0x1780, 0x17FF},
    {0x2F00, 0x2FDF}, {0x3040, 0x309F}, {0x30A0, 0x30FF}, {0x3400, 0x4DBF}, {0x4E00, 0x9FFF},
    {0xA9E0, 0xA9FF}, {0xAA60, 0xAA7F}, {0xAC00, 0xD7AF}, {0xF900, 0xFAFF}, {0xFF65, 0xFF9F}};

constexpr Stage kOneDigit = mask_run(kNumber, 1);
constexpr Stage kThreeDigits = mask_run(kNumber, 3);
constexpr Stage kLineEnd = mask_run(kNewline, 1);
constexpr Stage kBloomRun = run({.set = {kSpace, kBloomStops, true}, .prefix = kBlank});
constexpr Stage kThreeAsciiDigits = run({.set = {0, kAsciiDigits}, .min = 3, .max = 3});

constexpr Stage kGpt2[] = {words(kGpt2Words)};
constexpr Stage kDigitsThenGpt2[] = {kOneDigit, words(kGpt2Words)};
constexpr Stage kLlama3[] = {words(kLlama3Words)};
constexpr Stage kQwen2[] = {words(with_digits(kLlama3Words, 1))};
constexpr Stage kQwen35[] = {words(qwen35_words())};
constexpr Stage kUfakzeka[] = {words(without_contractions(with_digits(kLlama3Words, 1)))};
constexpr Stage kSeedCoder[] = {words(seed_coder_words())};
constexpr Stage kO200k[] = {words(kO200kWords)};
constexpr Stage kTekken[] = {words(tekken_words())};
constexpr Stage kYoutu[] = {run({.set = {0, kYoutuHangul}}), run({.set = {0, kYoutuPunct}}),
                            run({.set = {0, kYoutuBopomofo}}), run({.set = {0, kDeepseek3Cjk}}),
                            words(with_digits(kO200kWords, 1))};
constexpr Stage kExaoneMoe[] = {words(exaone_moe_words())};
// The published list begins with <sentinel:[0-9]+>, which the cuts at digits and punctuation undo.
constexpr Stage kChameleon[] = {{Kind::kImageName, {}, {}},
                                {Kind::kIndent, {}, {}},
                                kOneDigit,
                                run({.set = {kPunct, kFalconSymbols}, .max = 1}),
                                words(kGpt2Words)};
constexpr Stage kKimi[] = {words(kimi_words())};
constexpr Stage kDeepseek3[] = {kThreeDigits, run({.set = {0, kDeepseek3Cjk}}),
                                words(kDeepseek3Words)};
constexpr Stage kDeepseekLlm[] = {kLineEnd,
                                  run({.set = {0, kDeepseekLetters}, .prefix = kSpace}),
                                  run({.set = {0, kDeepseekPunct}, .prefix = kSpace}),
                                  {Kind::kTrailingSpace, {}, {}},
                                  run({.set = {0, kDeepseekCjk}}),
                                  kOneDigit};
constexpr Stage kDeepseekCoder[] = {kLineEnd, run({.set = {kLetter, {}}, .prefix = kSpace}),
                                    run({.set = {kPunct, {}}, .prefix = kSpace}),
                                    run({.set = {0, kDeepseekCjk}}), kOneDigit};
constexpr Stage kFalcon[] = {run({.set = {kPunct, kFalconSymbols}}), words(kGpt2Words),
                             mask_run(kNumber), kThreeAsciiDigits};
constexpr Stage kDefault[] = {run({.set = {kPunct, kDefaultSymbols}}), words(kGpt2Words),
                              mask_run(kNumber), kThreeAsciiDigits};
constexpr Stage kBloom[] = {kBloomRun};
constexpr Stage kViking[] = {kBloomRun, kOneDigit};
constexpr Stage kMiniCpm5[] = {kThreeDigits, words(with_digits(kLlama3Words, INT_MAX))};
constexpr Stage kSuperBpe[] = {mask_run(kNumber), {Kind::kDigitTriples, {}, {}}};
constexpr Stage kTinyAya[] = {{Kind::kNumberTriples, {}, {}}, words(kO200kWords)};
constexpr Stage kAfmoe[] = {mask_run(kNumber),
                            {Kind::kDigitTriples, {}, {}},
                            run({.set = {0, kAsianScripts}}),
                            words(kDeepseek3Words)};

constexpr uint8_t kWholeWords = PreTokenizer::kIgnoreMerges;
constexpr uint8_t kBos = PreTokenizer::kAddBos;
constexpr uint8_t kSep = PreTokenizer::kAddSep;
constexpr uint8_t kNoBos = PreTokenizer::kNoBos;
constexpr uint8_t kEscape = PreTokenizer::kEscapeSpaces;

constexpr PreTokenizer kFamilies[] = {
    {"default", kDefault},
    {"gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum modern-bert "
     "exaone4 "
     "mpt olmo jais trillion granite-docling",
     kGpt2},
    {"jina-v1-en jina-v2-code roberta-bpe", kGpt2, kSep},
    {"smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", kDigitsThenGpt2},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano", kLlama3,
     kWholeWords | kBos},
    {"dbrx smaug-bpe", kLlama3},
    {"chatglm-bpe", kLlama3, kNoBos},
    {"glm4 glm5", kLlama3, kWholeWords | kNoBos},
    {"qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2 bailingmoe "
     "bailingmoe2 llada-moe",
     kQwen2},
    {"qwen35", kQwen35},
    {"ufakzeka", kUfakzeka},
    {"seed-coder", kSeedCoder},
    {"minicpm5", kMiniCpm5, kWholeWords},
    {"gpt-4o llama4 kanana2 talkie minimax-m2", kO200k},
    {"granite-embed-multi-97m", kO200k, kWholeWords},
    {"tiny_aya cohere2moe", kTinyAya},
    {"tekken", kTekken, kWholeWords | kBos},
    {"youtu", kYoutu, kWholeWords},
    {"exaone-moe", kExaoneMoe},
    {"chameleon", kChameleon, kBos},
    {"kimi-k2", kKimi},
    {"deepseek-llm", kDeepseekLlm},
    {"deepseek-coder", kDeepseekCoder},
    {"deepseek-v3 hunyuan-dense joyai-llm hy_v4", kDeepseek3},
    {"falcon", kFalcon},
    {"bloom poro-chat gpt3-finnish", kBloom},
    {"viking", kViking},
    {"superbpe", kSuperBpe},
    {"afmoe", kAfmoe},
    {"gemma4 granite-embed-multi-311m", {}, kBos | kEscape},
};

bool lists(std::string_view names, std::string_view name) {
  while (!names.empty()) {
    const size_t space = names.find(' ');
    if (names.substr(0, space) == name) return true;
    if (space == std::string_view::npos) break;
    names.remove_prefix(space + 1);
  }
  return false;
}

}  // namespace

std::span<const PreTokenizer> PreTokenizer::all() { return kFamilies; }

const PreTokenizer* PreTokenizer::find(std::string_view name) {
  for (const PreTokenizer& family : kFamilies) {
    if (lists(family.names, name)) return &family;
  }
  return nullptr;
}

}  // namespace serval
