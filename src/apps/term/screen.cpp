// A changed run is written where it stands; a gap of a few equal cells within it is cheaper to
// write again than to jump over.
#include "apps/term/screen.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/utf8.h"

namespace serval {
namespace {

constexpr int kCheapGap = 6;

std::string_view sequence_of(Ink ink, bool colours) {
  constexpr std::string_view kColours[] = {"\033[0m",    "\033[0;2m",  "\033[0;1m",  "\033[0;7m",
                                           "\033[0;32m", "\033[0;33m", "\033[0;31m", "\033[0;36m",
                                           "\033[0;34m", "\033[0;35m"};
  if (!colours && ink >= Ink::kGreen) return kColours[ink == Ink::kRed ? 2 : 0];
  return kColours[static_cast<size_t>(ink)];
}

// One column wide in every terminal: ASCII, and what we draw with.
bool is_narrow(char32_t c) {
  return (c >= 0x20 && c < 0x7F) || c == 0xB7 || (c >= 0x2500 && c <= 0x259F) ||
         (c >= 0x2800 && c <= 0x28FF) || c == 0x2026;
}

void append(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xE0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

}  // namespace

Screen::Screen(int rows, int columns)
    : rows_(std::max(rows, 1)),
      columns_(std::max(columns, 1)),
      cells_(static_cast<size_t>(rows_) * static_cast<size_t>(columns_)) {}

void Screen::put(int row, int column, char32_t glyph, Ink ink) {
  if (row < 0 || row >= rows_ || column < 0 || column >= columns_) return;
  Cell& cell = cells_[static_cast<size_t>(row) * static_cast<size_t>(columns_) +
                      static_cast<size_t>(column)];
  cell = {is_narrow(glyph) ? glyph : U'?', ink};
}

int Screen::put(int row, int column, std::string_view utf8, Ink ink) {
  while (!utf8.empty()) {
    const Utf8Step step = decode_utf8(utf8);
    utf8.remove_prefix(step.length);
    put(row, column++, step.code_point, ink);
  }
  return column;
}

void Screen::put_right(int row, int end, std::string_view ascii, Ink ink) {
  put(row, end - static_cast<int>(ascii.size()), ascii, ink);
}

std::string Screen::update(const Screen* before, bool colours) const {
  const bool whole = before == nullptr || before->rows_ != rows_ || before->columns_ != columns_;
  std::string out = "\033[?2026h";
  if (whole) out += "\033[0m\033[2J";
  const auto same = [&](int row, int column) {
    return whole ? at(row, column) == Cell() : at(row, column) == before->at(row, column);
  };
  Ink ink = Ink::kPlain;
  bool changed = whole;
  for (int row = 0; row < rows_; ++row) {
    int written = -1;  // the cursor stands here in this row
    for (int column = 0; column < columns_; ++column) {
      if (same(row, column)) continue;
      changed = true;
      if (written >= 0 && column - written <= kCheapGap) {
        column = written;
      } else {
        out += fmt::format("\033[{};{}H", row + 1, column + 1);
      }
      for (;; ++column) {
        const Cell& cell = at(row, column);
        if (cell.ink != ink) out += sequence_of(cell.ink, colours);
        ink = cell.ink;
        append(out, cell.glyph);
        if (column + 1 == columns_ || same(row, column + 1)) break;
      }
      written = column + 1;
    }
  }
  if (!changed) return {};
  if (ink != Ink::kPlain) out += "\033[0m";
  return out + "\033[?2026l";
}

std::string Screen::text() const {
  std::string out;
  for (int row = 0; row < rows_; ++row) {
    std::string line;
    for (int column = 0; column < columns_; ++column) append(line, at(row, column).glyph);
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  out.erase(out.find_last_not_of('\n') + 1);
  return out + "\n";
}

}  // namespace serval
