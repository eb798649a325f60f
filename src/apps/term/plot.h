// Graphs and bars of characters.
#pragma once

#include <span>
#include <vector>

#include "apps/term/screen.h"

namespace serval {

enum class Glyphs : uint8_t {
  kBraille,  // 2 x 4 dots a character
  kBlocks,   // eighths of a character
  kAscii,
};

struct Rect {
  int row = 0, column = 0, rows = 0, columns = 0;
};

// How many values fit into so many columns.
inline int plot_values(int columns, Glyphs glyphs) {
  return glyphs == Glyphs::kBraille ? 2 * columns : columns;
}

// The area below `values`, the newest at the right; `top` is the upper edge.
void draw_plot(Screen& screen, const Rect& place, std::span<const double> values, double top,
               Glyphs glyphs, Ink ink);

// One line whose characters rise with the values, 0 to 1.
void draw_ribbon(Screen& screen, int row, int column, std::span<const double> values,
                 std::span<const Ink> inks, Glyphs glyphs);

// A bar of parts that add up to at most 1; what is left is drawn empty.
struct BarPart {
  double share = 0;
  Ink ink = Ink::kPlain;
  char letter = '#';  // where there are no colours or blocks
};
void draw_bar(Screen& screen, int row, int column, int columns, std::span<const BarPart> parts,
              Glyphs glyphs, bool colours);

}  // namespace serval
