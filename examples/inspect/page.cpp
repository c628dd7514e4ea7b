#include "subquad/examples/inspect/page.h"

#include "subquad/examples/inspect/page_assets.h"
#include "subquad/examples/lra/report/html.h"

namespace subquad::inspect {

std::string page(const Json& data) {
  std::string records;
  for (const char c : data.dump(-1, ' ', false, Json::error_handler_t::replace)) {
    if (c == '<')
      records += "\\u003c";  // no input can end the element that the data stand in
    else
      records += c;
  }
  std::string html =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<link rel=\"icon\" href=\"data:,\">\n<title>";
  html += lra::escaped(data.at("title").get<std::string>());
  html += "</title>\n<style>\n";
  html += page_style();
  html +=
      "</style>\n</head>\n<body>\n<noscript>This page draws its pictures by JavaScript.</noscript>\n"
      "<script id=\"data\" type=\"application/json\">";
  html += records;
  html += "</script>\n<script>\n\"use strict\";\n";
  html += page_program();
  html += "</script>\n</body>\n</html>\n";
  return html;
}

std::size_t bytes_beside(const Json& data_without_pictures) {
  return page(data_without_pictures).size();
}

}  // namespace subquad::inspect
