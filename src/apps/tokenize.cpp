// serval tokenize: text to ids, and with --decode back. Needs the vocabulary of a file only.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <memory>
#include <optional>

#include "apps/command.h"
#include "apps/json_text.h"
#include "apps/model_argument.h"
#include "apps/options.h"
#include "apps/terminal.h"
#include "apps/text_input.h"
#include "base/utf8.h"
#include "format/gguf.h"
#include "text/tokenizer.h"

namespace serval {
namespace {

namespace json = boost::json;

struct TokenizeOptions {
  ModelOptions model;
  std::vector<std::string> positionals;
  std::optional<std::string> prompt;
  std::string file;
  bool lines = false, decode = false, no_special = false, add_bos = false, show = false,
       json = false;
};

std::vector<TokenId> ids_from_json(const json::value& value, int vocab, const std::string& where) {
  std::vector<TokenId> ids;
  if (!value.is_array()) throw UsageError(where + ": a JSON array of token ids is needed");
  for (const json::value& item : value.get_array()) {
    if (!item.is_int64() || item.get_int64() < 0 || item.get_int64() >= vocab) {
      throw UsageError(fmt::format("{}: {} is not a token id of this model (0 to {})", where,
                                   terminal_safe(json::serialize(item)).substr(0, 40), vocab - 1));
    }
    ids.push_back(static_cast<TokenId>(item.get_int64()));
  }
  return ids;
}

json::value parse_json(std::string_view text, const std::string& where) {
  boost::system::error_code error;
  json::value value = json::parse(text, error);
  if (error) throw UsageError(where + ": is not valid JSON: " + error.message());
  return value;
}

class TokenizeRun {
 public:
  TokenizeRun(const TokenizeOptions& options, const Tokenizer& tokenizer)
      : options_(options), tokenizer_(tokenizer) {}

  void whole(const std::string& text) const {
    if (options_.decode) {
      const std::string decoded = decode(parse_json(text, "input"), "input");
      print(options_.json ? compact_json(json::string(replace_invalid_utf8(decoded))) + "\n"
                          : decoded);
      return;
    }
    const std::vector<TokenId> ids = encode(text);
    if (options_.show) {
      for (const TokenId id : ids) {
        print(fmt::format(
            "{:>8}  {}\n", id,
            compact_json(json::string(replace_invalid_utf8(tokenizer_.piece(id, true))))));
      }
      return;
    }
    print(compact_json(json::array(ids.begin(), ids.end())) + "\n");
  }

  void each_line(const std::string& text) const {
    size_t number = 0;
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      const std::string_view line = std::string_view(text).substr(at, end - at);
      at = end + 1;
      ++number;
      const std::string where = fmt::format("line {}", number);
      const json::value value = parse_json(line, where);
      if (options_.decode) {
        out += compact_json(json::string(replace_invalid_utf8(decode(value, where)))) + "\n";
      } else {
        if (!value.is_string()) throw UsageError(where + ": a JSON string is needed");
        const std::vector<TokenId> ids = encode(value.get_string());
        out += compact_json(json::array(ids.begin(), ids.end())) + "\n";
      }
      if (out.size() > (1 << 20)) {
        print(out);
        out.clear();
      }
    }
    print(out);
  }

 private:
  std::vector<TokenId> encode(std::string_view text) const {
    EncodeOptions encode_options;
    encode_options.parse_special = !options_.no_special;
    encode_options.add_special = options_.add_bos;
    return tokenizer_.encode(text, encode_options);
  }
  std::string decode(const json::value& value, const std::string& where) const {
    return tokenizer_.decode(ids_from_json(value, tokenizer_.vocab().size(), where),
                             !options_.no_special);
  }

  const TokenizeOptions& options_;
  const Tokenizer& tokenizer_;
};

int tokenize(TokenizeOptions options) {
  // Here the one positional is always MODEL; the second is FILE.
  std::string& model = options.model.model;
  for (const std::string& argument : options.positionals) {
    if (model.empty()) {
      model = argument;
    } else if (options.file.empty()) {
      options.file = argument;
    } else {
      throw UsageError("tokenize takes MODEL and FILE, not more; a text goes in with -p");
    }
  }
  const std::unique_ptr<GgufFile> file = GgufFile::open(resolve_model(model, options.model));
  const auto vocab = Vocab::from_gguf(*file);
  for (const std::string& warning : vocab->warnings) notice(warning);
  const std::unique_ptr<Tokenizer> tokenizer = Tokenizer::create(vocab);
  const std::string text =
      options.prompt ? *options.prompt : read_input(options.file.empty() ? "-" : options.file);
  const TokenizeRun run(options, *tokenizer);
  if (options.lines) {
    run.each_line(text);
  } else {
    run.whole(text);
  }
  return kExitDone;
}

}  // namespace

Action define_tokenize(CLI::App& app) {
  const auto o = std::make_shared<TokenizeOptions>();
  app.add_option("arguments", o->positionals, "MODEL [FILE]; without FILE standard input")
      ->type_name("");
  add_model_options(app, o->model);
  app.add_option("-p,--prompt", o->prompt, "the text itself");
  app.add_option("-f,--file", o->file, "a file with the text");
  app.add_flag("--lines", o->lines,
               "one JSON string per line in, one JSON array of ids per line out");
  app.add_flag("--decode", o->decode, "ids to text; with --lines one array per line in");
  app.add_flag("--no-special", o->no_special, "treat control tokens as ordinary text");
  app.add_flag("--add-bos", o->add_bos, "begin and end as the model wants it");
  app.add_flag("--show", o->show, "one token per line with its text");
  app.add_flag("--json", o->json,
               "the ids as one JSON array (the default), or the decoded text as JSON");
  return [o] { return tokenize(*o); };
}

}  // namespace serval
