// What the chunks and replies of chats and completions have in common. Private to this folder.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <span>
#include <string>
#include <utility>

#include "server/openai/wire.h"

namespace serval {

class OpenAiWire : public Wire {
 public:
  OpenAiWire(const Engine& engine, WireOptions options, const char* chunk_object)
      : engine_(engine), options_(std::move(options)), chunk_object_(chunk_object) {}

  std::string progress_chunk(int index, const Progress& progress) override;
  std::string closing_chunk(int index, const Choice& choice) override;
  std::string usage_chunk(const Usage& usage) override;
  std::string_view end_of_stream() const override;

 protected:
  // A choice of a chunk that carries no text.
  virtual boost::json::object empty_choice(int index) = 0;

  boost::json::object envelope(const char* object) const;
  // `so_far`: its timings are shown when the client asked for that.
  std::string chunk_of(boost::json::object choice, const Choice* so_far) const;
  std::string whole(const char* object, boost::json::array list, std::span<const Choice> choices,
                    const Usage& usage) const;
  void add_warnings(boost::json::object& out) const;
  std::string bytes_of(TokenId id) const { return token_bytes(engine_, id); }

  const Engine& engine_;
  const WireOptions options_;

 private:
  const char* chunk_object_;
};

}  // namespace serval
