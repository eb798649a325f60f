// A line of input on the terminal, with editing and a history that outlives the process.
#pragma once

#include <memory>
#include <string>

namespace serval {

enum class LineEnd { kLine, kEndOfInput, kInterrupted };

class LineEditor {
 public:
  // The history is read now and written on destruction; a folder that cannot be written only costs
  // the history.
  explicit LineEditor(std::string history_path);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  // A line that ends in a backslash goes on in the next one.
  LineEnd read(const std::string& prompt, std::string& line);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace serval
