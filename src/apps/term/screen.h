// Screen: a grid of characters and the bytes that bring a terminal from one grid to the next. No
// terminal library: cursor moves, 16 colours and synchronized output are all that is used.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace serval {

enum class Ink : uint8_t {
  kPlain,
  kDim,
  kBold,
  kReverse,
  kGreen,
  kYellow,
  kRed,
  kCyan,
  kBlue,
  kMagenta,
};

class Screen {
 public:
  Screen(int rows, int columns);

  int rows() const { return rows_; }
  int columns() const { return columns_; }

  // What lies outside is cut. Only characters of one column are shown; others become '?'. Returns
  // the column behind the text.
  int put(int row, int column, std::string_view utf8, Ink ink = Ink::kPlain);
  void put(int row, int column, char32_t glyph, Ink ink);
  // The same, ending before `end`.
  void put_right(int row, int end, std::string_view ascii, Ink ink = Ink::kPlain);

  // Escape sequences that turn a terminal showing `before` into one showing this; null: it shows
  // anything.
  std::string update(const Screen* before, bool colours) const;
  // Lines without trailing blanks.
  std::string text() const;

 private:
  struct Cell {
    char32_t glyph = U' ';
    Ink ink = Ink::kPlain;
    bool operator==(const Cell&) const = default;
  };
  const Cell& at(int row, int column) const {
    return cells_[static_cast<size_t>(row) * static_cast<size_t>(columns_) +
                  static_cast<size_t>(column)];
  }

  int rows_, columns_;
  std::vector<Cell> cells_;
};

}  // namespace serval
