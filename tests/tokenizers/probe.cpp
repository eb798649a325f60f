// The tokenizer alone, for the Python tests and for measuring:
//   tokenizer_probe MODEL [--no-special] [--add-bos] [--decode]   lines of JSON in and out
//   tokenizer_probe --split PRE                                   words of a family
//   tokenizer_probe MODEL --time FILE                             MB/s over a text file
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "serval/error.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

int split(const std::string& pre) {
  const auto* family = serval::PreTokenizer::find(pre);
  if (family == nullptr) return 1;
  for (std::string line; std::getline(std::cin, line);) {
    const std::string text(boost::json::parse(line).as_string());
    boost::json::array words;
    serval::for_each_word(family->stages, text, [&](std::string_view word) {
      words.emplace_back(boost::json::string(word.data(), word.size()));
    });
    std::cout << words << '\n';
  }
  return 0;
}

int time_file(const serval::Tokenizer& tokenizer, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  for (int round = 0; round < 3; ++round) {
    // Of the processor, so that a busy machine does not count.
    const std::clock_t start = std::clock();
    const auto ids = tokenizer.encode(text, {.parse_special = false, .add_special = false});
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    std::printf("%zu bytes, %zu tokens, %.3f s, %.1f MB/s\n", text.size(), ids.size(), seconds,
                static_cast<double>(text.size()) / seconds / 1e6);
  }
  return 0;
}

int lines(const serval::Tokenizer& tokenizer, bool special, bool add_bos, bool decode) {
  for (std::string line; std::getline(std::cin, line);) {
    const boost::json::value input = boost::json::parse(line);
    if (decode) {
      std::vector<serval::TokenId> ids;
      for (const auto& id : input.as_array()) ids.push_back(id.to_number<serval::TokenId>());
      std::cout << boost::json::value(tokenizer.decode(ids, special)) << '\n';
      continue;
    }
    const auto ids = tokenizer.encode(std::string_view(input.as_string()),
                                      {.parse_special = special, .add_special = add_bos});
    std::string out = "[";
    for (const auto id : ids) out += (out.size() > 1 ? "," : "") + std::to_string(id);
    std::cout << out << "]\n";
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  const std::vector<std::string> args(argv + 1, argv + argc);
  if (args.empty()) return 2;
  try {
    if (args[0] == "--split") return split(args.at(1));
    const auto start = Clock::now();
    const auto file = serval::GgufFile::open(args[0]);
    const double opened = seconds_since(start);
    auto vocab = serval::Vocab::from_gguf(*file);
    const double read = seconds_since(start);
    const auto tokenizer = serval::Tokenizer::create(vocab);
    const double built = seconds_since(start);
    bool special = true, add_bos = false, decode = false;
    for (size_t i = 1; i < args.size(); ++i) {
      if (args[i] == "--time") {
        std::printf("file %.1f ms, vocabulary %.1f ms, tokenizer %.1f ms\n", opened * 1e3,
                    (read - opened) * 1e3, (built - read) * 1e3);
        return time_file(*tokenizer, args.at(i + 1));
      }
      special &= args[i] != "--no-special";
      add_bos |= args[i] == "--add-bos";
      decode |= args[i] == "--decode";
    }
    return lines(*tokenizer, special, add_bos, decode);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
