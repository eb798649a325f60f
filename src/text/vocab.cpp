// Reads the tokenizer.* keys. Everything here comes from a file that may be hostile: array lengths
// must agree, types be known, ids be inside the table, scores be numbers, byte tokens be spelled
// <0xHH>.
#include "text/vocab.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "base/quoted.h"
#include "serval/error.h"
#include "text/pretokenize.h"

namespace serval {
namespace {

const std::string kPrefix = "tokenizer.ggml.";

[[noreturn]] void corrupt(const std::string& key, const std::string& what) {
  throw Error(ErrorCode::kCorrupt, kPrefix + key + ": " + what);
}

VocabKind kind_of(const std::string& model) {
  if (model == "gpt2") return VocabKind::kBytePair;
  if (model == "llama") return VocabKind::kSentencePiece;
  if (model == "bert") return VocabKind::kWordPiece;
  if (model == "gemma4") return VocabKind::kGemma4;
  throw Error(ErrorCode::kUnsupported,
              kPrefix + "model: " + quoted(model, 40) +
                  " is not supported; known are gpt2, llama, bert, gemma4");
}

void read_types(const GgufFile& file, Vocab& v) {
  const auto types = file.get_ints(kPrefix + "token_type");
  v.types.assign(v.texts.size(), TokenType::kNormal);
  if (!types) {
    v.warnings.push_back(kPrefix +
                         "token_type is missing: control tokens cannot be told from text");
    return;
  }
  if (types->size() != v.texts.size()) {
    corrupt("token_type", std::to_string(types->size()) + " entries for " +
                              std::to_string(v.texts.size()) + " tokens");
  }
  for (size_t i = 0; i < types->size(); ++i) {
    const int64_t type = (*types)[i];
    if (type < 0 || type > 6) {
      corrupt("token_type", "token " + std::to_string(i) + " has type " + std::to_string(type));
    }
    if (type != 0) v.types[i] = static_cast<TokenType>(type);  // 0: undefined in old files
    if (v.types[i] == TokenType::kByte && !parse_byte_token(v.texts[i])) {
      corrupt("tokens", "token " + std::to_string(i) + " is of type byte but not spelled <0xHH>");
    }
  }
}

void read_scores(const GgufFile& file, Vocab& v) {
  const auto scores = file.get_floats(kPrefix + "scores");
  if (!scores) {
    if (v.kind == VocabKind::kSentencePiece) corrupt("scores", "missing");
    return;
  }
  if (scores->size() != v.texts.size()) {
    corrupt("scores", std::to_string(scores->size()) + " entries for " +
                          std::to_string(v.texts.size()) + " tokens");
  }
  v.scores.reserve(scores->size());
  for (const double score : *scores) {
    if (std::isnan(score)) corrupt("scores", "holds a value that is not a number");
    v.scores.push_back(static_cast<float>(score));
  }
}

void read_pre(const GgufFile& file, Vocab& v) {
  v.pre = file.get_string(kPrefix + "pre").value_or("");
  if (v.kind != VocabKind::kBytePair) return;
  if (v.pre.empty()) {
    v.warnings.push_back(kPrefix +
                         "pre is missing: the split of text into words is a guess (\"default\"), "
                         "quality may suffer badly; convert the model again");
  } else if (PreTokenizer::find(v.pre) == nullptr) {
    v.warnings.push_back(kPrefix + "pre " + quoted(v.pre, 40) +
                         " is unknown: the split of text into words is a guess (\"default\"), "
                         "quality may suffer badly");
  }
}

// An id key; all ones is how files say "none".
std::optional<TokenId> read_id(const GgufFile& file, const Vocab& v, const std::string& key) {
  const GgufValue* value = file.find(kPrefix + key);
  if (value == nullptr) return std::nullopt;
  const auto id = file.get_int(kPrefix + key);
  if (*id == -1 || *id == UINT32_MAX) return std::nullopt;
  if (*id < 0 || *id >= v.size()) {
    corrupt(key,
            std::to_string(*id) + " is not one of the " + std::to_string(v.size()) + " tokens");
  }
  return static_cast<TokenId>(*id);
}

void read_ids(const GgufFile& file, Vocab& v) {
  const auto id = [&](const char* key) { return read_id(file, v, key); };
  v.bos = id("bos_token_id");
  v.eos = id("eos_token_id");
  v.eot = id("eot_token_id");
  v.eom = id("eom_token_id");
  v.unk = id("unknown_token_id");
  v.pad = id("padding_token_id");
  v.sep = id("seperator_token_id");  // as the format spells it
  v.cls = id("cls_token_id");
  v.mask = id("mask_token_id");
  const auto either = [&](const char* key, const char* old) {
    const auto first = id(key);
    return first ? first : id(old);
  };
  v.fim_prefix = either("fim_pre_token_id", "prefix_token_id");
  v.fim_suffix = either("fim_suf_token_id", "suffix_token_id");
  v.fim_middle = either("fim_mid_token_id", "middle_token_id");
}

void read_flags(const GgufFile& file, Vocab& v) {
  const PreTokenizer* family = v.kind == VocabKind::kBytePair ? PreTokenizer::find(v.pre) : nullptr;
  const auto has = [&](PreTokenizer::Flag flag) { return family != nullptr && family->has(flag); };
  const auto flag = [&](const char* key, bool otherwise) {
    return file.get_bool(kPrefix + key).value_or(otherwise);
  };
  const bool spm = v.kind == VocabKind::kSentencePiece;
  const bool bert = v.kind == VocabKind::kWordPiece;
  v.add_bos = flag("add_bos_token", v.kind != VocabKind::kBytePair || has(PreTokenizer::kAddBos));
  v.add_eos = flag("add_eos_token", false);
  v.add_sep = flag("add_sep_token", bert || has(PreTokenizer::kAddSep));
  v.add_space_prefix = flag("add_space_prefix", spm);
  v.remove_extra_whitespaces = flag("remove_extra_whitespaces", false);
  v.lowercase = flag("normalizer.lowercase", bert);
  v.strip_accents = flag("normalizer.strip_accents", v.lowercase);
  if (has(PreTokenizer::kNoBos)) v.bos.reset();
  if (v.kind == VocabKind::kGemma4) v.add_bos = true;  // early files say false, the model needs it
}

// Texts by which models mark the end of a turn or of the text, whatever their id keys say.
constexpr std::array<std::string_view, 21> kEndTexts = {"<|eot_id|>",
                                                        "<|im_end|>",
                                                        "<|end|>",
                                                        "<end_of_turn>",
                                                        "<turn|>",
                                                        "<|endoftext|>",
                                                        "<|end_of_text|>",
                                                        "</s>",
                                                        "<eos>",
                                                        "<|eom_id|>",
                                                        "<EOT>",
                                                        "[EOT]",
                                                        "[EOS]",
                                                        "<end_of_utterance>",
                                                        "<|return|>",
                                                        "<|call|>",
                                                        "<|flush|>",
                                                        "<|calls|>",
                                                        "<|tool_response|>",
                                                        "<｜end▁of▁sentence｜>",
                                                        "<|END_OF_TURN_TOKEN|>"};

void collect_ends(Vocab& v) {
  std::vector<TokenId>& ends = v.end_of_generation;
  for (const auto& id : {v.eos, v.eot, v.eom}) {
    if (id) ends.push_back(*id);
  }
  std::optional<TokenId> harmony_end;
  bool returns = false, calls = false;
  for (TokenId id = 0; id < v.size(); ++id) {
    const auto i = static_cast<size_t>(id);
    // Ordinary text that looks like a mark ("</s>" in a web vocabulary) ends nothing.
    if (v.types[i] != TokenType::kControl && v.types[i] != TokenType::kUserDefined) continue;
    const std::string_view text = v.texts[i];
    if (std::find(kEndTexts.begin(), kEndTexts.end(), text) == kEndTexts.end()) continue;
    ends.push_back(id);
    if (text == "<|end|>") harmony_end = id;
    returns |= text == "<|return|>";
    calls |= text == "<|call|>" || text == "<|calls|>";
    if (!v.eot && (text == "<|eot_id|>" || text == "<|im_end|>" || text == "<end_of_turn>" ||
                   text == "<turn|>")) {
      v.eot = id;
    }
    if (!v.eom && text == "<|eom_id|>") v.eom = id;
  }
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  // In the harmony format <|end|> closes one message of several.
  if (harmony_end && returns && calls) std::erase(ends, *harmony_end);
}

}  // namespace

std::optional<unsigned char> parse_byte_token(std::string_view text) {
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return std::nullopt;
  unsigned value = 0;
  for (const char c : text.substr(3, 2)) {
    if (c >= '0' && c <= '9')
      value = value * 16 + static_cast<unsigned>(c - '0');
    else if (c >= 'A' && c <= 'F')
      value = value * 16 + static_cast<unsigned>(c - 'A' + 10);
    else if (c >= 'a' && c <= 'f')
      value = value * 16 + static_cast<unsigned>(c - 'a' + 10);
    else
      return std::nullopt;
  }
  return static_cast<unsigned char>(value);
}

bool Vocab::is_end(TokenId id) const {
  return std::binary_search(end_of_generation.begin(), end_of_generation.end(), id);
}

std::shared_ptr<const Vocab> Vocab::from_gguf(const GgufFile& file) {
  auto vocab = std::make_shared<Vocab>();
  Vocab& v = *vocab;
  const auto model = file.get_string(kPrefix + "model");
  if (!model) throw Error(ErrorCode::kCorrupt, file.path() + ": no " + kPrefix + "model");
  v.kind = kind_of(*model);
  const auto texts = file.get_strings(kPrefix + "tokens");
  if (!texts || texts->size() == 0) corrupt("tokens", "missing or empty");
  if (texts->size() > INT32_MAX) corrupt("tokens", "too many");
  v.texts = *texts;
  read_types(file, v);
  read_scores(file, v);
  if (const auto merges = file.get_strings(kPrefix + "merges")) v.merges = *merges;
  if (v.merges.size() >= UINT32_MAX) corrupt("merges", "too many");
  read_pre(file, v);
  if (v.kind == VocabKind::kGemma4 && v.merges.size() == 0) corrupt("merges", "missing");
  const PreTokenizer* family = PreTokenizer::find(v.pre);
  if (v.kind == VocabKind::kBytePair && family != nullptr &&
      family->has(PreTokenizer::kEscapeSpaces)) {
    v.kind = VocabKind::kGemma4;
  }
  read_ids(file, v);
  read_flags(file, v);
  collect_ends(v);
  return vocab;
}

uint64_t planned_text_bytes(const GgufFile& file) {
  uint64_t bytes = 0;
  for (const GgufFile::Entry& entry : file.metadata()) {
    const GgufStrings& texts = entry.value.strings;
    for (size_t i = 0; i < texts.size(); ++i) bytes += texts[i].size();
    bytes += entry.key.size() + entry.value.s.size();
    bytes += (texts.size() + entry.value.ints.size() + entry.value.floats.size()) * 8;
  }
  const auto count = [&](const char* key) {
    const auto strings = file.get_strings(kPrefix + key);
    return strings ? static_cast<uint64_t>(strings->size()) : 0;
  };
  const uint64_t tokens = count("tokens");
  // Types and scores; the token table (token_table.h): a key each, slots at most half full; while
  // it is built, its entries and the texts in their decoded form.
  bytes += tokens * (1 + 4 + 16 + 24 + 8) + std::bit_ceil(2 * tokens + 1) * 8;
  if (const uint64_t merges = count("merges")) bytes += std::bit_ceil(2 * merges + 1) * 16;
  return bytes;
}

}  // namespace serval
