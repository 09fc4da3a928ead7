// SPDX-License-Identifier: Apache-2.0
#include <GLFW/glfw3.h>
#include <backends/imgui_impl_glfw.h>
#include <backends/imgui_impl_opengl3.h>
#include <imgui.h>

#include <algorithm>

#include "gui/screens.h"

namespace pagetape {

static std::string last_error() {
  const char* why = nullptr;
  glfwGetError(&why);
  return why == nullptr ? "no reason given" : why;
}

Status run_window(const std::string& title, float scale, const std::function<void(float)>& prepare,
                  const std::function<Next(float)>& frame) {
  if (glfwInit() == GLFW_FALSE) {
    return system_error("no window can be opened (" + last_error() +
                        "): --screenshot FILE draws without a screen");
  }
  glfwWindowHint(GLFW_CONTEXT_VERSION_MAJOR, 3);
  glfwWindowHint(GLFW_CONTEXT_VERSION_MINOR, 2);
  glfwWindowHint(GLFW_OPENGL_PROFILE, GLFW_OPENGL_CORE_PROFILE);
  glfwWindowHint(GLFW_SCALE_TO_MONITOR, GLFW_TRUE);
  GLFWwindow* window = glfwCreateWindow(1600, 900, title.c_str(), nullptr, nullptr);
  if (window == nullptr) {
    const std::string why = last_error();
    glfwTerminate();
    return system_error("no window with OpenGL 3.2 can be opened (" + why +
                        "): --screenshot FILE draws without a screen");
  }
  glfwMakeContextCurrent(window);
  glfwSwapInterval(1);
  if (scale <= 0) {
    float y = 1;
    glfwGetWindowContentScale(window, &scale, &y);
    scale = std::clamp(scale, 0.5F, 4.0F);
  }
  ImGui::CreateContext();
  ImGui::GetIO().IniFilename = nullptr;
  prepare(scale);
  ImGui_ImplGlfw_InitForOpenGL(window, true);
  ImGui_ImplOpenGL3_Init("#version 150");
  for (Next then = Next::kWait;
       then != Next::kEnd && glfwWindowShouldClose(window) == GLFW_FALSE;) {
    then == Next::kAtOnce ? glfwPollEvents() : glfwWaitEventsTimeout(0.5);
    for (int settle = 0; then != Next::kEnd && settle < 2; ++settle) {
      ImGui_ImplOpenGL3_NewFrame();
      ImGui_ImplGlfw_NewFrame();
      ImGui::NewFrame();
      then = frame(scale);
      ImGui::Render();
      int width = 0, height = 0;
      glfwGetFramebufferSize(window, &width, &height);
      glViewport(0, 0, width, height);
      const ImVec4 back = ImGui::GetStyle().Colors[ImGuiCol_MenuBarBg];
      glClearColor(back.x, back.y, back.z, 1);
      glClear(GL_COLOR_BUFFER_BIT);
      ImGui_ImplOpenGL3_RenderDrawData(ImGui::GetDrawData());
      glfwSwapBuffers(window);
    }
  }
  ImGui_ImplOpenGL3_Shutdown();
  ImGui_ImplGlfw_Shutdown();
  ImGui::DestroyContext();
  glfwDestroyWindow(window);
  glfwTerminate();
  return {};
}

}  // namespace pagetape
