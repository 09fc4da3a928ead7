// SPDX-License-Identifier: Apache-2.0
#include "gui/ink.h"

#include <GL/gl.h>

#include <algorithm>
#include <cmath>

#include "verify/report.h"

namespace pagetape {
namespace {

constexpr ImU32 rgb(unsigned hex, unsigned alpha = 255) {
  return IM_COL32(hex >> 16 & 255, hex >> 8 & 255, hex & 255, alpha);
}

constexpr Theme kDark{.back = rgb(0x0f1216),
                      .panel = rgb(0x171b21),
                      .line = rgb(0x2b323c),
                      .grid = rgb(0x222831),
                      .text = rgb(0xd5dae1),
                      .dim = rgb(0x8b95a3),
                      .strong = rgb(0xffffff),
                      .link = rgb(0x56b4e9),
                      .good = rgb(0x26b88f),
                      .bad = rgb(0xff7a33),
                      .selection = rgb(0xf0e442),
                      .hover = rgb(0xffffff, 28),
                      .empty = rgb(0x1d222a)};
constexpr Theme kLight{.back = rgb(0xe6e9ed),
                       .panel = rgb(0xffffff),
                       .line = rgb(0xc5ccd6),
                       .grid = rgb(0xe3e7ec),
                       .text = rgb(0x20262e),
                       .dim = rgb(0x5d6773),
                       .strong = rgb(0x000000),
                       .link = rgb(0x0062a3),
                       .good = rgb(0x007a58),
                       .bad = rgb(0xbd4a00),
                       .selection = rgb(0x7a2f8a),
                       .hover = rgb(0x000000, 20),
                       .empty = rgb(0xeff1f4)};

constexpr unsigned kHues[] = {0x0072b2, 0xe69f00, 0x009e73, 0xcc79a7, 0x56b4e9, 0xb8ad2c, 0x7f8fa6};

}  // namespace

const Theme& Theme::of(bool dark) { return dark ? kDark : kLight; }

bool Ink::begin(const char* title, const std::string& note_text, ImVec2 at, ImVec2 size,
                bool above) {
  ImGui::SetNextWindowPos(at);
  ImGui::SetNextWindowSize(size);
  if (above) ImGui::PushStyleColor(ImGuiCol_WindowBg, theme.panel);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowBorderSize, above ? 1.0F : 0.0F);
  ImGui::Begin(
      title, nullptr,
      ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoMove | ImGuiWindowFlags_NoSavedSettings |
          (above ? 0 : ImGuiWindowFlags_NoBringToFrontOnFocus | ImGuiWindowFlags_NoBackground) |
          ImGuiWindowFlags_NoNav | ImGuiWindowFlags_NoScrollWithMouse);
  if (above) ImGui::PopStyleColor();
  if (!above) {
    // What is drawn from here on is kept off the window's edges.
    ImGui::GetWindowDrawList()->PushClipRectFullScreen();
    fill(at, {at.x + size.x, at.y + size.y}, theme.panel);
    ImGui::GetWindowDrawList()->PopClipRect();
  }
  texts += "\n== " + std::string(title) + " ==\n";
  const ImVec2 place = ImGui::GetCursorScreenPos();
  put(place, size.x, title, theme.strong, strong);
  const float used = strong->CalcTextSizeA(strong->FontSize, FLT_MAX, 0, title).x + px(12);
  if (!note_text.empty()) {
    put({place.x + used, place.y}, size.x - used - px(24), note_text, theme.dim);
    note(note_text);
  }
  ImGui::Dummy({1, ImGui::GetTextLineHeight() + px(3)});
  return ImGui::BeginChild("body", {0, 0}, false, ImGuiWindowFlags_NoNav);
}

void Ink::end() {
  ImGui::EndChild();
  ImGui::End();
  ImGui::PopStyleVar();
}

namespace {

// The rectangle is the command's clipping, the colour its pointer.
void clear_area(const ImDrawList*, const ImDrawCmd* command) {
  const ImDrawData* data = ImGui::GetDrawData();
  const auto colour =
      static_cast<ImU32>(reinterpret_cast<std::uintptr_t>(command->UserCallbackData));
  const auto pixel = [](float at, float origin, float scale) {
    return static_cast<int>(std::round((at - origin) * scale));
  };
  const ImVec4& clip = command->ClipRect;
  const ImVec2 scale = data->FramebufferScale;
  const int x0 = pixel(clip.x, data->DisplayPos.x, scale.x);
  const int x1 = pixel(clip.z, data->DisplayPos.x, scale.x);
  const int y0 = pixel(clip.y, data->DisplayPos.y, scale.y);
  const int y1 = pixel(clip.w, data->DisplayPos.y, scale.y);
  if (x1 <= x0 || y1 <= y0) return;
  const int height = pixel(data->DisplaySize.y, 0, scale.y);
  const ImVec4 c = ImGui::ColorConvertU32ToFloat4(colour);
  glScissor(x0, height - y1, x1 - x0, y1 - y0);
  glClearColor(c.x, c.y, c.z, 1);
  glClear(GL_COLOR_BUFFER_BIT);
}

}  // namespace

void Ink::fill(ImVec2 a, ImVec2 b, ImU32 colour) {
  constexpr float kSmall = 64 * 64;  // A state change costs as much.
  ImDrawList* draw = ImGui::GetWindowDrawList();
  if ((b.x - a.x) * (b.y - a.y) < kSmall) {
    draw->AddRectFilled(a, b, colour);
    return;
  }
  draw->PushClipRect(a, b, true);
  draw->AddCallback(clear_area, reinterpret_cast<void*>(std::uintptr_t{colour}));
  draw->PopClipRect();
}

Raster& Ink::place(Image& image, ImVec2 at, ImVec2 size, ImU32 back) {
  image.raster.reset(static_cast<int>(size.x), static_cast<int>(size.y), back);
  if (image.texture == 0) glGenTextures(1, &image.texture);
  const auto width = static_cast<float>(image.raster.width());
  const auto height = static_cast<float>(image.raster.height());
  if (width > 0 && height > 0) {
    ImGui::GetWindowDrawList()->AddImage(
        reinterpret_cast<ImTextureID>(std::uintptr_t{image.texture}), at,
        {at.x + width, at.y + height});
  }
  return image.raster;
}

void Ink::upload(Image& image) {
  const Raster& raster = image.raster;
  if (raster.width() == 0 || raster.height() == 0) return;
  glBindTexture(GL_TEXTURE_2D, image.texture);
  if (image.width != raster.width() || image.height != raster.height()) {
    image.width = raster.width();
    image.height = raster.height();
    glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MIN_FILTER, GL_NEAREST);
    glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MAG_FILTER, GL_NEAREST);
    glTexImage2D(GL_TEXTURE_2D, 0, GL_RGBA, image.width, image.height, 0, GL_RGBA, GL_UNSIGNED_BYTE,
                 raster.pixels().data());
  } else {
    glTexSubImage2D(GL_TEXTURE_2D, 0, 0, 0, image.width, image.height, GL_RGBA, GL_UNSIGNED_BYTE,
                    raster.pixels().data());
  }
  glBindTexture(GL_TEXTURE_2D, 0);
}

void Ink::cut(float x, float top, float bottom, ImU32 colour) {
  const float left = std::floor(x);
  ImGui::GetWindowDrawList()->AddRectFilled({left, top}, {left + std::max(1.0F, px(1.5F)), bottom},
                                            colour);
}

void Ink::note(std::string_view text) {
  texts += text;
  texts += '\n';
}

void Ink::put(ImVec2 at, float width, std::string_view text, ImU32 colour, ImFont* font) {
  if (font == nullptr) font = ImGui::GetFont();
  const char *begin = text.data(), *end = begin + text.size(), *cut = end;
  const float size = font->FontSize;
  ImDrawList* draw = ImGui::GetWindowDrawList();
  if (font->CalcTextSizeA(size, FLT_MAX, 0, begin, end).x <= width) {
    draw->AddText(font, size, at, colour, begin, end);
    return;
  }
  const float room = width - font->CalcTextSizeA(size, FLT_MAX, 0, "…").x;
  if (room <= 0) return;
  (void)font->CalcTextSizeA(size, room, 0, begin, end, &cut);
  if (cut == begin) return;
  const std::string shorter = std::string(begin, cut) + "…";
  draw->AddText(font, size, at, colour, shorter.c_str());
}

ImU32 Ink::tone(Tone tone) const {
  switch (tone) {
    case Tone::kDim:
      return theme.dim;
    case Tone::kStrong:
      return theme.strong;
    case Tone::kGood:
      return theme.good;
    case Tone::kBad:
      return theme.bad;
    case Tone::kPlain:
      break;
  }
  return theme.text;
}

void Ink::write(std::string_view text, Tone how) {
  ImGui::PushStyleColor(ImGuiCol_Text, tone(how));
  ImGui::PushTextWrapPos(0);
  ImGui::TextUnformatted(text.data(), text.data() + text.size());
  ImGui::PopTextWrapPos();
  ImGui::PopStyleColor();
  note(text);
}

// Of the word that was just drawn. One of a link's own colour is known by that, others by a line.
void Ink::link_over(const Phrase& phrase, ImU32 colour) {
  const ImVec2 a = ImGui::GetItemRectMin(), b = ImGui::GetItemRectMax();
  const bool hovered = ImGui::IsItemHovered();
  if (hovered || colour != theme.link) {
    const float y = std::floor(b.y - px(1));
    ImGui::GetWindowDrawList()->AddRectFilled({a.x, y}, {b.x, y + std::max(1.0F, px(1))},
                                              hovered ? colour : theme.line);
  }
  if (!hovered) return;
  ImGui::SetMouseCursor(ImGuiMouseCursor_Hand);
  if (ImGui::IsMouseClicked(0)) run(phrase.command);
}

// What of a phrase belongs to the word before: "," behind a link.
static std::string_view head_of(const Line& line, std::size_t i) {
  const bool follows = i > 0 && i < line.size() && !line[i - 1].text.ends_with(' ');
  return follows ? std::string_view(line[i].text).substr(0, line[i].text.find(' ')) : "";
}

// Phrases flow word by word, so that a long line breaks and its links stay links.
void Ink::write(const Line& line) {
  note(text_of(line));
  const float left = ImGui::GetCursorPosX();
  const float right = ImGui::GetContentRegionMax().x;
  float x = left;
  bool is_first = true;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const Phrase& phrase = line[i];
    const bool link = !phrase.command.empty();
    const std::string_view head = head_of(line, i), next = head_of(line, i + 1);
    ImU32 colour = tone(phrase.tone);
    if (link && phrase.tone == Tone::kPlain) colour = theme.link;
    for (std::size_t at = 0; at < phrase.text.size();) {
      std::size_t end = phrase.text.find(' ', phrase.text.find_first_not_of(' ', at));
      end = std::min(end, phrase.text.size());
      const char* begin = phrase.text.data() + at;
      float wide = ImGui::CalcTextSize(begin, phrase.text.data() + end).x;
      if (end == phrase.text.size() && !next.empty()) {
        wide += ImGui::CalcTextSize(next.data(), next.data() + next.size()).x;
      }
      const bool joined = at == 0 && !head.empty();
      const bool breaks = !is_first && !joined && x + wide > right;
      if (breaks) x = left + px(14);
      if (!is_first && !breaks) ImGui::SameLine(x, 0);
      if (breaks) ImGui::SetCursorPosX(x);
      const char* word = breaks && *begin == ' ' ? begin + 1 : begin;
      const float drawn = ImGui::CalcTextSize(word, phrase.text.data() + end).x;
      ImGui::PushStyleColor(ImGuiCol_Text, colour);
      ImGui::TextUnformatted(word, phrase.text.data() + end);
      ImGui::PopStyleColor();
      if (link) link_over(phrase, colour);
      x += drawn;
      is_first = false;
      at = end;
    }
  }
}

void Ink::write(const Block& block) {
  note("-- " + block.title + (block.note.empty() ? "" : " (" + block.note + ')'));
  const ImVec2 at = ImGui::GetCursorScreenPos();
  const float width = ImGui::GetContentRegionAvail().x;
  const float height = ImGui::GetTextLineHeight();
  ImDrawList* draw = ImGui::GetWindowDrawList();
  if (block.tone == Tone::kBad) {
    draw->AddRectFilled({at.x, at.y}, {at.x + px(3), at.y + height}, theme.bad);
  }
  put({at.x + px(8), at.y}, width - px(8), block.title, tone(Tone::kStrong), strong);
  const float wide = strong->CalcTextSizeA(strong->FontSize, FLT_MAX, 0, block.title.c_str()).x;
  const float used = wide + px(18);
  put({at.x + used, at.y}, width - used, block.note, theme.dim);
  ImGui::Indent(px(8));
  ImGui::Dummy({wide, height});
  if (!block.command.empty()) link_over({block.title, {}, block.command}, theme.strong);
  for (const Line& line : block.lines) write(line);
  write(block.chains);
  ImGui::Unindent(px(8));
  ImGui::Dummy({1, px(5)});
}

void Ink::write(const std::vector<Chain>& chains) {
  if (chains.empty()) return;
  std::vector<std::vector<Phrase>> columns;
  const auto index = [&](std::size_t c, const Phrase& name) {
    return static_cast<std::size_t>(std::ranges::find(columns[c], name.text, &Phrase::text) -
                                    columns[c].begin());
  };
  for (const Chain& chain : chains) {
    std::string text;
    for (std::size_t c = 0; c < chain.names.size(); ++c) {
      if (c >= columns.size()) columns.emplace_back();
      const Phrase& name = chain.names[c];
      if (index(c, name) == columns[c].size()) columns[c].push_back(name);
      text += (c == 0 ? "" : " → ") + name.text;
    }
    note(text);
  }
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const ImVec2 at = ImGui::GetCursorScreenPos();
  const float high = std::floor(line_height() + px(4));
  std::size_t rows = 0;
  for (const auto& column : columns) rows = std::max(rows, column.size());
  const float height = high * static_cast<float>(rows);
  std::vector<float> lefts, rights;
  float x = at.x;
  for (const auto& column : columns) {
    float wide = 0;
    for (const Phrase& name : column) {
      wide = std::max(wide, ImGui::CalcTextSize(name.text.c_str()).x);
    }
    lefts.push_back(x);
    rights.push_back(x + wide + px(12));
    x = rights.back() + px(44);
  }
  // Names of a shorter column stand in the middle of its share.
  const auto middle = [&](std::size_t c, std::size_t i) {
    const float share = height / static_cast<float>(columns[c].size());
    return std::floor(at.y + share * (static_cast<float>(i) + 0.5F));
  };
  for (const Chain& chain : chains) {
    for (std::size_t c = 1; c < chain.names.size(); ++c) {
      draw->AddLine({rights[c - 1], middle(c - 1, index(c - 1, chain.names[c - 1]))},
                    {lefts[c], middle(c, index(c, chain.names[c]))}, theme.dim, px(1.5F));
    }
  }
  for (std::size_t c = 0; c < columns.size(); ++c) {
    for (std::size_t i = 0; i < columns[c].size(); ++i) {
      const Phrase& name = columns[c][i];
      const float y = middle(c, i);
      const ImVec2 low{lefts[c], y - high / 2 + px(2)}, top{rights[c], y + high / 2 - px(2)};
      const bool link = !name.command.empty();
      const bool hovered = link && ImGui::IsWindowHovered() && ImGui::IsMouseHoveringRect(low, top);
      draw->AddRectFilled(low, top, hovered ? theme.line : theme.grid, px(3));
      put({low.x + px(6), std::floor(y - ImGui::GetTextLineHeight() / 2)}, rights[c] - lefts[c],
          name.text, link ? theme.link : theme.text);
      if (hovered && ImGui::IsMouseClicked(0)) run(name.command);
    }
  }
  ImGui::Dummy({1, height + px(3)});
}

ImU32 Ink::owner(Name name) const {
  const std::uint32_t n = raw(name) * 2654435761U >> 8;
  const unsigned hex = kHues[n % std::size(kHues)];
  // Owners of one hue differ in how light they are.
  const float light = 0.72F + 0.28F * static_cast<float>(n / std::size(kHues) % 4) / 3;
  const auto part = [&](unsigned shift) {
    return static_cast<unsigned>(static_cast<float>(hex >> shift & 255) * light);
  };
  return IM_COL32(part(16), part(8), part(0), 255);
}

ImU32 Ink::value(std::uint32_t value) const { return rgb(kHues[(value - 1) % std::size(kHues)]); }

// By the contrast of WCAG 2: black is read better from a relative luminance of 0.18 on.
ImU32 Ink::on(ImU32 colour) {
  const ImVec4 c = ImGui::ColorConvertU32ToFloat4(colour);
  const float light =
      0.2126F * std::pow(c.x, 2.2F) + 0.7152F * std::pow(c.y, 2.2F) + 0.0722F * std::pow(c.z, 2.2F);
  return light > 0.18F ? IM_COL32(0, 0, 0, 255) : IM_COL32(255, 255, 255, 255);
}

ImU32 Ink::rule(Rule rule) const {
  // Neighbours in the list of rules, which often come together, differ most.
  constexpr unsigned kRuleHues[] = {0xd55e00, 0xcc79a7, 0xe69f00, 0x56b4e9,
                                    0x009e73, 0xb8ad2c, 0x7f8fa6, 0x0072b2};
  return rgb(kRuleHues[static_cast<std::size_t>(rule) % std::size(kRuleHues)]);
}

// Cividis: as light goes up evenly, it is read alike by all eyes.
ImU32 Ink::heat(float share) const {
  constexpr unsigned kStops[] = {0x173a6b, 0x4a546c, 0x747475, 0xa69d75, 0xf0dc5a};
  const float at = std::clamp(share, 0.0F, 1.0F) * (std::size(kStops) - 1);
  const auto low = std::min(static_cast<std::size_t>(at), std::size(kStops) - 2);
  const float part = at - static_cast<float>(low);
  unsigned out = 0;
  for (const unsigned shift : {16U, 8U, 0U}) {
    const auto a = static_cast<float>(kStops[low] >> shift & 255);
    const auto b = static_cast<float>(kStops[low + 1] >> shift & 255);
    out |= static_cast<unsigned>(a + (b - a) * part) << shift;
  }
  return rgb(out);
}

std::string counted(std::uint64_t n, std::string_view what) {
  return grouped(n) + ' ' + std::string(what) + (n == 1 ? "" : "s");
}

}  // namespace pagetape
