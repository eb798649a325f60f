// The catalogue: names that people can type, and where each model comes from. A table in the
// program; nothing is asked of any server to resolve a name.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace serval {

struct CatalogueEntry {
  std::string_view name;                      // "smollm2:135m", also the id in the model folder
  std::span<const std::string_view> sources;  // one, or the parts of one file in order
  std::string_view sha256;                    // of the whole file; empty: not known
  uint64_t bytes = 0;                         // 0: not known
  std::string_view licence;
  std::string_view summary;
};

inline constexpr std::string_view kDefaultModel = "smollm2:135m";

std::span<const CatalogueEntry> catalogue();

// "smollm2:135m", or "smollm2" for the first entry of that family. nullptr: no such name.
const CatalogueEntry* find_in_catalogue(std::string_view name);

// True for "smollm2:9b": a family of the catalogue with a tag it does not have.
bool has_catalogue_family(std::string_view name);

}  // namespace serval
