#include "apps/term/plot.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace serval {
namespace {

constexpr char32_t kEmptyBraille = 0x2800;
constexpr char32_t kEighths = 0x2580;  // + n: lower n eighths
constexpr std::string_view kAsciiHeights = " .-=+*#%@";

// Dots of a braille cell from below, left and right column.
constexpr std::array<std::array<char32_t, 4>, 2> kDots = {
    {{0x40, 0x04, 0x02, 0x01}, {0x80, 0x20, 0x10, 0x08}}};

// A height of 0 to 8 within one character; the lowest that is not zero shows.
char32_t eighths(int height, Glyphs glyphs) {
  height = std::clamp(height, 0, 8);
  if (glyphs == Glyphs::kAscii)
    return static_cast<char32_t>(kAsciiHeights[static_cast<size_t>(height)]);
  return height == 0 ? U' ' : kEighths + static_cast<char32_t>(height);
}

int scaled(double value, double top, int steps) {
  if (!(value > 0) || !(top > 0)) return 0;
  return std::clamp(static_cast<int>(std::lround(value / top * steps)), 1, steps);
}

}  // namespace

void draw_plot(Screen& screen, const Rect& place, std::span<const double> values, double top,
               Glyphs glyphs, Ink ink) {
  const bool braille = glyphs == Glyphs::kBraille;
  const auto fits = static_cast<size_t>(plot_values(place.columns, glyphs));
  if (values.size() > fits) values = values.last(fits);
  const int per_cell = braille ? 4 : 8;
  const size_t blank = fits - values.size();
  const auto height = [&](size_t place_of_value) {
    if (place_of_value < blank) return 0;
    return scaled(values[place_of_value - blank], top, place.rows * per_cell);
  };
  for (int column = 0; column < place.columns; ++column) {
    for (int row = 0; row < place.rows; ++row) {
      const int below = (place.rows - 1 - row) * per_cell;
      char32_t glyph = U' ';
      if (braille) {
        glyph = kEmptyBraille;
        for (size_t side = 0; side < 2; ++side) {
          const int dots = std::clamp(height(2 * static_cast<size_t>(column) + side) - below, 0, 4);
          for (int dot = 0; dot < dots; ++dot) glyph |= kDots[side][static_cast<size_t>(dot)];
        }
        if (glyph == kEmptyBraille) glyph = U' ';
      } else {
        glyph = eighths(height(static_cast<size_t>(column)) - below, glyphs);
      }
      screen.put(place.row + row, place.column + column, glyph, glyph == U' ' ? Ink::kPlain : ink);
    }
  }
}

void draw_ribbon(Screen& screen, int row, int column, std::span<const double> values,
                 std::span<const Ink> inks, Glyphs glyphs) {
  for (size_t i = 0; i < values.size(); ++i) {
    screen.put(row, column + static_cast<int>(i), eighths(scaled(values[i], 1, 8), glyphs),
               inks[i]);
  }
}

void draw_bar(Screen& screen, int row, int column, int columns, std::span<const BarPart> parts,
              Glyphs glyphs, bool colours) {
  double sum = 0;
  int drawn = 0;
  for (const BarPart& part : parts) {
    sum += std::max(part.share, 0.0);
    const int end = std::min(columns, static_cast<int>(std::lround(sum * columns)));
    const bool letters = glyphs == Glyphs::kAscii || (!colours && parts.size() > 1);
    const char32_t glyph = letters ? static_cast<char32_t>(part.letter) : U'\u2588';
    for (; drawn < end; ++drawn) screen.put(row, column + drawn, glyph, part.ink);
  }
  const char32_t empty = glyphs == Glyphs::kAscii ? U'.' : U'\u2591';
  for (; drawn < columns; ++drawn) screen.put(row, column + drawn, empty, Ink::kDim);
}

}  // namespace serval
