// MonitorView: the pages of `serval top` as a grid of characters.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/monitor_state.h"
#include "apps/term/plot.h"
#include "apps/term/screen.h"

namespace serval {

enum class Page : uint8_t { kOverview = 1, kRequests, kSteps, kKeys, kBlocks };
enum class Order : uint8_t { kId, kTtft, kGap, kTokens };

struct ViewOptions {
  Page page = Page::kOverview;
  Order order = Order::kId;
  Glyphs glyphs = Glyphs::kBraille;
  bool colours = true;
  bool paused = false, help = false;
  bool keys = true;       // a last line that names the keys
  uint64_t selected = 0;  // a request
  std::string notice;     // replaces the last line
};

// The requests as they are listed: alive ones first, then by `order`.
std::vector<const ShownRequest*> listed(const MonitorState& state, Order order);

Screen draw_monitor(const MonitorState& state, const ViewOptions& options, int rows, int columns);

}  // namespace serval
