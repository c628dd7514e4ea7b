// What a user may choose for one case, by name: `bench_kernel chord_matmul --n 4096 --links 13`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "subquad/core/shape.h"

namespace subquad::bench {

struct Setting {
  std::string name;     // "links"
  std::string value;    // the default
  std::string meaning;  // "of each row; 0 = log2 n + 1"
};

class Settings {
 public:
  // `op` is named in messages.
  Settings(std::string op, std::vector<Setting> known);

  // Error that lists what there is when no setting has the name.
  void set(std::string_view name, std::string value);
  bool has(std::string_view name) const;

  const std::string& text(std::string_view name) const;
  Index size(std::string_view name, Index least = 0) const;  // Error unless it is a whole number of `least` or more
  double number(std::string_view name) const;                // Error unless it is finite and 0 or more
  bool flag(std::string_view name) const;                    // Error unless it is true or false
  const std::string& op() const { return op_; }
  const std::vector<Setting>& all() const { return all_; }

 private:
  std::string op_;
  std::vector<Setting> all_;
};

}  // namespace subquad::bench
