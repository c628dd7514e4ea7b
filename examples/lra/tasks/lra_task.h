// Which column of Long Range Arena's table a task belongs in.
#pragma once

#include <string>

namespace subquad::lra {

// By Task::name: Pathfinder and Path-X at the level hard only; Image by either rule for grey, which differ by one level
// on a quarter of the pixels; ListOps also without brackets, as LRA's first table had it. "" for all that is none of
// the six.
std::string lra_task(const std::string& name);

}  // namespace subquad::lra
