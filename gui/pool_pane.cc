// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "gui/app/pool_image.h"
#include "gui/panes.h"
#include "verify/report.h"

namespace pagetape {
namespace {

// One pool's map: pages downwards, time to the right, and below its edge the ids read beyond it.
class PoolMap {
 public:
  PoolMap(Ink& ink, Viewer& viewer, const PoolHistory& pool, PoolPicture& picture, Rect rect)
      : ink_(ink),
        viewer_(viewer),
        pool_(pool),
        picture_(picture),
        draw_(ImGui::GetWindowDrawList()) {
    left_ = std::floor(rect.at.x + ink.gutter);
    width_ = std::floor(std::max(1.0F, rect.at.x + rect.size.x - left_));
    top_ = std::floor(rect.at.y);
    const bool beyond = pool.most_beyond > 0;
    bottom_ = std::floor(rect.at.y + rect.size.y);
    edge_ = beyond ? std::floor(bottom_ - std::max(rect.size.y * 0.22F, ink.px(14))) : bottom_;
    origin_ = rect.at.x;
    // What was never given out need not take most of the picture.
    const std::uint32_t some = pool.used_rows + std::max(pool.used_rows / 8, 1U);
    rows_ = beyond || pool.used_rows == 0 ? pool.rows : std::min(pool.rows, some);
  }

  void title() {
    const std::string name = "pool " + viewer_.text(pool_.name);
    const std::string size = grouped(static_cast<std::uint64_t>(pool_.pages)) + " pages";
    ink_.put({origin_ + ink_.px(4), top_}, ink_.gutter - ink_.px(8), name, ink_.theme.text);
    ink_.note(name + ", " + size);
    if (rows_ < pool_.rows) {
      const auto last = static_cast<std::uint64_t>(rows_ * pool_.pages_a_row - 1);
      const std::string shown = "0 to " + grouped(last) + " shown";
      ink_.put({origin_ + ink_.px(4), top_ + 2 * ink_.line_height()}, ink_.gutter - ink_.px(8),
               shown, ink_.theme.dim);
      ink_.note(shown);
    }
    if (edge_ - top_ > ink_.line_height() * 2) {
      ink_.put({origin_ + ink_.px(4), top_ + ink_.line_height()}, ink_.gutter - ink_.px(8), size,
               ink_.theme.dim);
    }
    if (edge_ == bottom_) return;
    const std::string beyond = "read to " + grouped(static_cast<std::uint64_t>(pool_.most_beyond));
    ink_.put({origin_ + ink_.px(4), edge_ + ink_.px(1)}, ink_.gutter - ink_.px(8), beyond,
             ink_.theme.bad);
    ink_.note("beyond the edge of pool " + viewer_.text(pool_.name) + ": " + beyond);
  }

  void cells() {
    colour();
    Raster& raster =
        ink_.place(picture_.image, {left_, top_}, {width_, bottom_ - top_}, ink_.theme.panel);
    raster.fill(0, 0, width_, edge_ - top_, ink_.theme.empty);
    draw_pool(pool_, picture_.colours, rows_, viewer_.axis(), static_cast<int>(edge_ - top_),
              raster);
    raster.fill(0, edge_ - top_, width_, edge_ - top_ + 1, ink_.theme.dim);
    if (edge_ != bottom_) beyond(raster);
    Ink::upload(picture_.image);
  }

  void cursor() const {
    const Axis& axis = viewer_.axis();
    const double at = axis.x_of(static_cast<double>(viewer_.selected()) + 0.5, width_);
    if (at < 0 || at > width_) return;
    const float x = left_ + static_cast<float>(at);
    ink_.cut(x, top_, bottom_, ink_.theme.selection);
    reads(x);
  }

  void mouse() {
    drag_axis(viewer_, {left_, top_}, {width_, bottom_ - top_});
    if (!ImGui::IsItemHovered()) return;
    const ImVec2 mouse = ImGui::GetIO().MousePos;
    const double over = viewer_.axis().event_at(mouse.x - left_, width_);
    const auto event = static_cast<EventIndex>(std::clamp(over, 0.0, viewer_.axis().events() - 1));
    const std::string where = "event " + grouped(event);
    if (mouse.y >= edge_) {
      const PoolHistory::Beyond& out = pool_.beyond(pool_.bin_of(event));
      if (out.any()) {
        ImGui::SetTooltip("ids %lld to %lld read, of %lld pages; first at event %llu",
                          static_cast<long long>(out.least), static_cast<long long>(out.most),
                          static_cast<long long>(pool_.pages),
                          static_cast<unsigned long long>(out.first));
        if (ImGui::IsMouseClicked(0)) ink_.run("goto " + std::to_string(out.first));
      }
      return;
    }
    const float share = (mouse.y - top_) / std::max(edge_ - top_, 1.0F);
    const auto row =
        std::min(static_cast<std::uint32_t>(share * static_cast<float>(rows_)), rows_ - 1);
    const std::int64_t page = row * pool_.pages_a_row;
    const PoolHistory::Cell& cell = pool_.cell(row, pool_.bin_of(event));
    std::string owner = cell.owned == 0 ? "no owner" : "owned by " + viewer_.text(cell.owner);
    if (cell.owned > 0) {
      owner += " since about event " + grouped(cell.since * pool_.bin_events);
      owner += cell.writer < kKinds ? ", written by " + std::string(kKindNames[cell.writer])
                                    : ", not written";
    } else if (cell.space != kNone) {
      owner = "owned in space " + viewer_.text(cell.space);
    }
    // Who had it before; what is shorter than a bin is not seen.
    const auto had = pool_.had(row, pool_.bin_of(event), 5);
    for (std::size_t i = 1; i < had.size(); ++i) {
      owner += (i == 1 ? "\nbefore: " : ", ") +
               (had[i].owner == kNone ? "nobody" : viewer_.text(had[i].owner)) + " from about " +
               grouped(had[i].begin * pool_.bin_events);
    }
    ImGui::SetTooltip("%s, page %lld: %s%s\nclick: blame the page at this event", where.c_str(),
                      static_cast<long long>(page), owner.c_str(),
                      pool_.pages_a_row > 1 ? " (and its neighbours)" : "");
    if (axis_clicked()) {
      ink_.run("goto " + std::to_string(event));
      ink_.run("blame " + viewer_.text(pool_.name) + ':' + std::to_string(page));
    }
  }

 private:
  float x_of(std::uint32_t bin) const {
    const auto event = static_cast<double>(bin * pool_.bin_events);
    return left_ +
           static_cast<float>(std::clamp<double>(viewer_.axis().x_of(event, width_), 0.0, width_));
  }
  float y_of(std::uint32_t row) const {
    return top_ + (edge_ - top_) * static_cast<float>(row) / static_cast<float>(rows_);
  }

  // The colours of all cells, anew where they, or what colours mean, changed.
  void colour() {
    const PoolPicture::Key key{viewer_.generation(), viewer_.colours(), viewer_.dark()};
    if (picture_.key == key && !picture_.colours.empty()) return;
    picture_.key = key;
    picture_.colours.resize(std::size_t{pool_.bins} * pool_.rows);
    for (std::uint32_t bin = 0; bin < pool_.bins; ++bin) {
      for (std::uint32_t row = 0; row < pool_.rows; ++row) {
        picture_.colours[std::size_t{bin} * pool_.rows + row] =
            colour_of(pool_.cell(row, bin), bin);
      }
    }
  }
  ImU32 colour_of(const PoolHistory::Cell& cell, std::uint32_t bin) const {
    const bool by_space = viewer_.colours() == Colours::kSpace;
    if (cell.owned == 0 && !(by_space && cell.space != kNone)) {
      return cell.reserved ? ink_.theme.line : 0;
    }
    const bool all = cell.owned == static_cast<std::uint32_t>(pool_.pages_a_row);
    const ImU32 hue = hue_of(cell, bin);
    return all ? hue : over((hue & ~IM_COL32_A_MASK) | 0xa0000000U, ink_.theme.empty);
  }
  ImU32 hue_of(const PoolHistory::Cell& cell, std::uint32_t bin) const {
    switch (viewer_.colours()) {
      case Colours::kAge:
        return ink_.heat(static_cast<float>(bin - std::min<std::uint32_t>(bin, cell.since)) /
                         static_cast<float>(pool_.bins));
      case Colours::kSpace:
        return ink_.owner(cell.space);
      case Colours::kWriter:
        return cell.writer >= kKinds ? ink_.theme.line : ink_.value(1U + cell.writer);
      case Colours::kOwner:
        break;
    }
    return ink_.owner(cell.owner);
  }
  float beyond_y(std::int64_t page) const {
    const auto range =
        static_cast<double>(std::max<std::int64_t>(pool_.most_beyond - pool_.pages, 1));
    const double share = static_cast<double>(page - pool_.pages) / range;
    return edge_ + ink_.px(3) + static_cast<float>(share) * (bottom_ - edge_ - ink_.px(6));
  }
  void beyond(Raster& raster) const {
    const Axis& axis = viewer_.axis();
    raster.fill(0, edge_ + 1 - top_, width_, bottom_ - top_,
                (ink_.theme.bad & ~IM_COL32_A_MASK) | 0x22000000U);
    const std::uint32_t first = pool_.bin_of(static_cast<EventIndex>(axis.begin()));
    const std::uint32_t last = pool_.bin_of(static_cast<EventIndex>(std::max(axis.end() - 1, 0.0)));
    for (std::uint32_t bin = first; bin <= last; ++bin) {
      const PoolHistory::Beyond& out = pool_.beyond(bin);
      if (!out.any()) continue;
      const float x0 = x_of(bin), x1 = std::max(x_of(bin + 1), x0 + 1.5F);
      raster.fill(x0 - left_, beyond_y(out.least) - ink_.px(2) - top_, x1 - left_,
                  beyond_y(out.most) + ink_.px(2) - top_, ink_.theme.bad);
    }
  }
  // What the launch at the cursor reads of this pool: ticks beside the cursor.
  void reads(float x) const {
    const auto& table = viewer_.moment().table;
    if (!table || table->pool != viewer_.text(pool_.name) || table->bound != pool_.pages) return;
    for (const RowView& row : table->rows) {
      for (const CellView& cell : row.cells) {
        if (cell.kind != CellKind::kLive) continue;
        const bool inside = cell.id >= 0 && cell.id < pool_.pages;
        if (inside && pool_.row_of(cell.id) >= rows_) continue;
        if (!inside && edge_ == bottom_) continue;
        const float y = inside ? (y_of(pool_.row_of(cell.id)) + y_of(pool_.row_of(cell.id) + 1)) / 2
                               : beyond_y(std::min(cell.id, pool_.most_beyond));
        draw_->AddTriangleFilled({x, y}, {x + ink_.px(7), y - ink_.px(4)},
                                 {x + ink_.px(7), y + ink_.px(4)},
                                 cell.rule == kRuleCount ? ink_.theme.strong : ink_.theme.bad);
      }
    }
  }

  Ink& ink_;
  Viewer& viewer_;
  const PoolHistory& pool_;
  PoolPicture& picture_;
  ImDrawList* draw_;
  float left_ = 0, width_ = 0, top_ = 0, bottom_ = 0, edge_ = 0, origin_ = 0;
  std::uint32_t rows_ = 1;  // That are shown.
};

}  // namespace

void draw_pool_map(Ink& ink, Viewer& viewer, Rect rect, std::vector<PoolPicture>& pictures) {
  constexpr const char* kMeaning[] = {"owner", "age: the brighter, the longer owned",
                                      "the space in which they are owned",
                                      "the kind of event that wrote last"};
  const std::string note = "page ids downwards, coloured by " +
                           std::string(kMeaning[static_cast<std::size_t>(viewer.colours())]) +
                           " (p); below an edge: ids read beyond it";
  if (ink.begin("Pool map", note, rect.at, rect.size)) {
    const Stopwatch watch(ink.images_ms);
    // The greater pools first: a draft's own one is often a dummy.
    std::vector<const PoolHistory*> pools;
    for (const PoolHistory& pool : viewer.index().pools) {
      if (pool.pages > 2 || viewer.index().pools.size() < 3) pools.push_back(&pool);
    }
    const ImVec2 at = ImGui::GetCursorScreenPos(), size = ImGui::GetContentRegionAvail();
    const float gap = ink.px(6);
    const float each = size.y / static_cast<float>(std::max<std::size_t>(pools.size(), 1));
    pictures.resize(std::max(pictures.size(), pools.size()));
    for (std::size_t i = 0; i < pools.size(); ++i) {
      ImGui::PushID(static_cast<int>(i));
      PoolMap map(ink, viewer, *pools[i], pictures[i],
                  {{at.x, at.y + each * static_cast<float>(i)}, {size.x, each - gap}});
      map.title();
      map.cells();
      map.cursor();
      map.mouse();
      ImGui::PopID();
    }
    if (pools.empty()) ink.write("No pool is declared.", Tone::kDim);
  }
  ink.end();
}

}  // namespace pagetape
