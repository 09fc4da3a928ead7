// SPDX-License-Identifier: Apache-2.0
#include "gui/picture.h"

#include <GL/gl.h>
#include <backends/imgui_impl_opengl3.h>
#include <imgui.h>

#include <ctime>
#include <utility>

namespace pagetape {

Canvas::Canvas(std::unique_ptr<Offscreen> screen, float scale)
    : screen_(std::move(screen)), scale_(scale) {}

std::unique_ptr<Canvas> Canvas::open(const Picture& picture, Status& status) {
  auto screen = Offscreen::open(picture.width, picture.height, status);
  if (screen == nullptr) return nullptr;
  ImGui::CreateContext();
  std::unique_ptr<Canvas> canvas(new Canvas(std::move(screen), picture.scale));
  ImGuiIO& io = ImGui::GetIO();
  io.IniFilename = nullptr;
  io.DisplaySize = {static_cast<float>(picture.width), static_cast<float>(picture.height)};
  if (ImGui_ImplOpenGL3_Init("#version 150")) return canvas;
  status = system_error("OpenGL 3.2 cannot be used here");
  return nullptr;
}

Canvas::~Canvas() {
  if (ImGui::GetIO().BackendRendererUserData != nullptr) ImGui_ImplOpenGL3_Shutdown();
  ImGui::DestroyContext();
}

static double ms_of(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

std::string Canvas::draw(Viewer& viewer, FrameTimes* times) {
  const double begin = ms_of(CLOCK_MONOTONIC), cpu = ms_of(CLOCK_PROCESS_CPUTIME_ID);
  fit_fonts(fonts_, viewer.scale() > 0 ? viewer.scale() : scale_);
  ImGui::GetIO().DeltaTime = 1.0F / 60;
  ImGui_ImplOpenGL3_NewFrame();
  ImGui::NewFrame();
  Drawn drawn = draw_frame(viewer, arrangement_, fonts_);
  const double said = ms_of(CLOCK_MONOTONIC);
  ImGui::Render();
  const double listed = ms_of(CLOCK_MONOTONIC);
  const ImVec4 back = ImGui::ColorConvertU32ToFloat4(Theme::of(viewer.dark()).back);
  glClearColor(back.x, back.y, back.z, 1);
  glClear(GL_COLOR_BUFFER_BIT);
  ImGui_ImplOpenGL3_RenderDrawData(ImGui::GetDrawData());
  glFinish();
  if (times != nullptr) {
    const double end = ms_of(CLOCK_MONOTONIC);
    *times = {.images = drawn.images_ms,
              .panes = said - begin - drawn.images_ms,
              .lists = listed - said,
              .gl = end - listed,
              .whole = end - begin,
              .cpu = ms_of(CLOCK_PROCESS_CPUTIME_ID) - cpu};
  }
  return std::move(drawn.texts);
}

std::string Canvas::renderer() const {
  const GLubyte* name = glGetString(GL_RENDERER);
  return name == nullptr ? "unknown" : reinterpret_cast<const char*>(name);
}

Status draw_picture(Viewer& viewer, const Picture& picture, std::string& texts) {
  Status status;
  const auto canvas = Canvas::open(picture, status);
  if (canvas == nullptr) return status;
  // Sizes of what scrolls are known after a first frame.
  for (int frame = 0; frame < 3; ++frame) texts = canvas->draw(viewer);
  return picture.png.empty() ? Status() : canvas->write_png(picture.png);
}

}  // namespace pagetape
