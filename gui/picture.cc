// SPDX-License-Identifier: Apache-2.0
#include "gui/picture.h"

#include <GL/gl.h>
#include <backends/imgui_impl_opengl3.h>
#include <imgui.h>

#include "gui/screens.h"
#include "gui/viewer_frame.h"

namespace pagetape {

Status draw_picture(Viewer& viewer, const Picture& picture, std::string& texts) {
  Status status;
  const auto screen = Offscreen::open(picture.width, picture.height, status);
  if (screen == nullptr) return status;
  ImGui::CreateContext();
  ImGuiIO& io = ImGui::GetIO();
  io.IniFilename = nullptr;
  io.DisplaySize = {static_cast<float>(picture.width), static_cast<float>(picture.height)};
  const Fonts fonts = load_fonts(picture.scale);
  if (ImGui_ImplOpenGL3_Init("#version 150")) {
    Arrangement arrangement;
    // Sizes of what scrolls are known after a first frame.
    for (int frame = 0; frame < 3; ++frame) {
      io.DeltaTime = 1.0F / 60;
      ImGui_ImplOpenGL3_NewFrame();
      ImGui::NewFrame();
      texts = draw_frame(viewer, arrangement, fonts, picture.scale);
      ImGui::Render();
      const ImVec4 back = ImGui::ColorConvertU32ToFloat4(Theme::of(viewer.dark()).back);
      glClearColor(back.x, back.y, back.z, 1);
      glClear(GL_COLOR_BUFFER_BIT);
      ImGui_ImplOpenGL3_RenderDrawData(ImGui::GetDrawData());
    }
    if (!picture.png.empty()) status = screen->write_png(picture.png);
    ImGui_ImplOpenGL3_Shutdown();
  } else {
    status = system_error("OpenGL 3.2 cannot be used here");
  }
  ImGui::DestroyContext();
  return status;
}

}  // namespace pagetape
