// SPDX-License-Identifier: Apache-2.0
#include "gui/viewer_frame.h"

#include <backends/imgui_impl_opengl3.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

namespace pagetape {
namespace {

constexpr float kFontPixels = 15;

ImFont* load(const char* file, float scale) {
  static const ImWchar kRanges[] = {0x20,   0x17f,  0x2010, 0x2027, 0x2190, 0x2193,
                                    0x2260, 0x2260, 0x25a0, 0x25ff, 0};
  constexpr const char* kFolders[] = {"/usr/share/fonts/truetype/dejavu/", "/usr/share/fonts/TTF/",
                                      "/usr/share/fonts/dejavu/"};
  ImFontAtlas* fonts = ImGui::GetIO().Fonts;
  for (const char* folder : kFolders) {
    const std::string path = std::string(folder) + file;
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error)) continue;
    if (ImFont* font =
            fonts->AddFontFromFileTTF(path.c_str(), kFontPixels * scale, nullptr, kRanges)) {
      return font;
    }
  }
  ImFontConfig config;
  config.SizePixels = 13 * scale;
  return fonts->AddFontDefault(&config);
}

void run_keys(Viewer& viewer) {
  const ImGuiIO& io = ImGui::GetIO();
  if (io.WantTextInput || viewer.palette_open()) return;
  const auto run = [&](const std::string& key) {
    if (const auto command = viewer.command_of(key)) viewer.run(*command);
  };
  for (const ImWchar c : io.InputQueueCharacters) {
    if (c >= '1' && c <= '9') viewer.run("follow " + std::string(1, static_cast<char>(c)));
    if (c == ' ') run("Space");
    if (c > ' ' && c < 127) run(std::string(1, static_cast<char>(c)));
  }
  constexpr std::pair<ImGuiKey_, const char*> kKeys[] = {
      {ImGuiKey_LeftArrow, "Left"},     {ImGuiKey_RightArrow, "Right"}, {ImGuiKey_UpArrow, "Up"},
      {ImGuiKey_DownArrow, "Down"},     {ImGuiKey_Home, "Home"},        {ImGuiKey_End, "End"},
      {ImGuiKey_Backspace, "Backspace"}};
  for (const auto& [key, name] : kKeys) {
    if (ImGui::IsKeyPressed(ImGui::GetKeyIndex(key))) run(name);
  }
}

// A bar between panes that can be dragged; `share` is of `whole` pixels.
void splitter(const Ink& ink, const char* name, Rect rect, bool upright, float whole,
              float& share) {
  ImGui::SetNextWindowPos(rect.at);
  ImGui::SetNextWindowSize(rect.size);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, {0, 0});
  ImGui::PushStyleVar(ImGuiStyleVar_WindowMinSize, {1, 1});
  ImGui::PushStyleColor(ImGuiCol_WindowBg, ink.theme.back);
  ImGui::Begin(name, nullptr, ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoSavedSettings);
  ImGui::InvisibleButton("bar", rect.size);
  if (ImGui::IsItemHovered() || ImGui::IsItemActive()) {
    ImGui::SetMouseCursor(upright ? ImGuiMouseCursor_ResizeEW : ImGuiMouseCursor_ResizeNS);
  }
  if (ImGui::IsItemActive()) {
    const ImVec2 moved = ImGui::GetIO().MouseDelta;
    share = std::clamp(share + (upright ? -moved.x : moved.y) / whole, 0.1F, 0.7F);
  }
  ImGui::End();
  ImGui::PopStyleColor();
  ImGui::PopStyleVar(2);
}

}  // namespace

void fit_fonts(Fonts& fonts, float scale) {
  if (fonts.scale == scale) return;
  const bool anew = fonts.scale > 0;
  ImGui::GetIO().Fonts->Clear();
  fonts.scale = scale;
  fonts.plain = load("DejaVuSans.ttf", scale);
  fonts.strong = load("DejaVuSans-Bold.ttf", scale);
  fonts.mono = load("DejaVuSansMono.ttf", scale);
  if (!anew) return;  // The first texture comes with the first frame.
  ImGui_ImplOpenGL3_DestroyFontsTexture();
  ImGui_ImplOpenGL3_CreateFontsTexture();
}

void set_style(bool dark, float scale) {
  ImGuiStyle style;
  dark ? ImGui::StyleColorsDark(&style) : ImGui::StyleColorsLight(&style);
  style.WindowPadding = {10, 8};
  style.ItemSpacing = {8, 3};
  style.WindowBorderSize = 0;
  style.ScrollbarSize = 12;
  style.ScaleAllSizes(scale);
  style.Colors[ImGuiCol_PopupBg].w = 1;  // What is under words makes them hard to read.
  // What is behind the panes.
  style.Colors[ImGuiCol_MenuBarBg] = ImGui::ColorConvertU32ToFloat4(Theme::of(dark).back);
  style.Colors[ImGuiCol_Separator] = ImGui::ColorConvertU32ToFloat4(Theme::of(dark).line);
  ImGui::GetStyle() = style;
}

Drawn draw_frame(Viewer& viewer, Arrangement& arrangement, const Fonts& fonts) {
  viewer.tick(ImGui::GetIO().DeltaTime);
  run_keys(viewer);
  set_style(viewer.dark(), fonts.scale);
  Ink ink(Theme::of(viewer.dark()), fonts.scale, fonts.strong, fonts.mono);
  if (std::exchange(arrangement.scale, fonts.scale) != fonts.scale) {
    arrangement.timeline_needs = arrangement.state_needs = 0;
    // What was scrolled into view is elsewhere now.
    arrangement.table_event = kNever;
    arrangement.explained.clear();
  }
  const ImVec2 size = ImGui::GetIO().DisplaySize;
  const float gap = ink.px(5);
  const float head = ink.px(20) + ink.line_height() * 2;
  const float body = size.y - head - gap;
  const float right = std::floor(size.x * arrangement.right), left = size.x - right - gap;
  ink.gutter = gutter_of(ink, viewer, std::floor(left * 0.3F));
  // No more than it needs; what is left goes to what is below.
  float top = std::floor(body * arrangement.top);
  if (arrangement.timeline_needs > 0) top = std::min(top, std::ceil(arrangement.timeline_needs));
  const float below = body - top;
  const float middle = std::floor(below * arrangement.middle);
  float state = std::floor(body * arrangement.state);
  if (arrangement.state_needs > 0) state = std::min(state, std::ceil(arrangement.state_needs));
  const float y = head + gap;
  draw_status(ink, viewer, {{0, 0}, {size.x, head}});
  draw_timeline(ink, viewer, {{0, y}, {left, top}}, arrangement);
  draw_pool_map(ink, viewer, {{0, y + top + gap}, {left, middle}}, arrangement.pools);
  const float low = y + top + middle + 2 * gap;
  const Rect lowest{{0, low}, {left, std::max(size.y - low, 1.0F)}};
  switch (viewer.pane()) {
    case LowPane::kTable:
      draw_table(ink, viewer, lowest, arrangement);
      break;
    case LowPane::kWhatIf:
      draw_what_if(ink, viewer, lowest);
      break;
    case LowPane::kCompare:
      draw_compare(ink, viewer, lowest);
      break;
  }
  draw_state(ink, viewer, {{left + gap, y}, {right, state}}, arrangement);
  const float under = y + state + gap;
  draw_findings(ink, viewer, {{left + gap, under}, {right, std::max(size.y - under, 1.0F)}},
                arrangement);
  splitter(ink, "##right", {{left, y}, {gap, body}}, true, size.x, arrangement.right);
  float shown = top / body;
  splitter(ink, "##top", {{0, y + top}, {left, gap}}, false, body, shown);
  if (shown != top / body) arrangement.top = shown;
  splitter(ink, "##middle", {{0, low - gap}, {left, gap}}, false, below, arrangement.middle);
  float state_shown = state / body;
  splitter(ink, "##state", {{left + gap, under - gap}, {right, gap}}, false, body, state_shown);
  if (state_shown != state / body) arrangement.state = state_shown;
  draw_help(ink, viewer);
  draw_palette(ink, viewer, arrangement);
  for (const std::string& command : ink.commands) viewer.run(command);
  const std::string copied = viewer.take_copied();
  if (!copied.empty()) ImGui::SetClipboardText(copied.c_str());
  return {std::move(ink.texts), ink.images_ms};
}

}  // namespace pagetape
