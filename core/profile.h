// What the ops of a program cost: while a Profile lives, whatever passes on_device (core/device.h) leaves a record.
//
//   Profile profile(device);
//   step();
//   for (const OpRecord& op : profile.records()) std::cout << op.name << ' ' << op.own_seconds << '\n';
//
// Without a Profile an op pays for one look at a flag. With one it is timed by the clock on the CPU, and on CUDA by
// events in the stream, which do not make the host wait; what lies between them includes the pauses of a device that
// is faster than its host. An op that is recorded into a Graph leaves no record, the graph's replay is one op.
#pragma once

#include <string>
#include <vector>

#include "subquad/core/tensor.h"

namespace subquad {

struct OpRecord {
  const char* name = "";   // the function whose call of on_device it is
  const char* phase = "";  // of the innermost ProfilePhase, "" outside of any
  std::string module;      // the path that the phase, or else the thread, had then
  int thread = 0;          // 0: the one that made the Profile; then in the order of their first records
  int depth = 0;           // how many ops it runs inside of
  double start = 0;        // seconds since the Profile was made
  double seconds = 0;      // with the ops inside
  double own_seconds = 0;  // without them
  double bytes = 0;        // of the tensors whose elements it asked for, each counted once; those inside have their own
  double flops = 0;        // as on_device was told; 0 where it was not
  std::vector<Shape> shapes;  // of those tensors, in the order they were asked for; at most 8
};

class Profile {
 public:
  // Error where another one lives. Ops of other devices leave no record.
  explicit Profile(Device device);
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  double seconds() const;  // since it was made, by the host's clock
  // Of the ops that have ended so far, by thread and start. Waits for the device.
  std::vector<OpRecord> records() const;
};

// Names what the ops of this thread are part of while it lives: "backward". `module` outlives it.
class ProfilePhase {
 public:
  explicit ProfilePhase(const char* name);  // the module stays what it was
  ProfilePhase(const char* name, const std::string& module);
  ~ProfilePhase();
  ProfilePhase(const ProfilePhase&) = delete;
  ProfilePhase& operator=(const ProfilePhase&) = delete;

 private:
  const char* name_before_;
  const std::string* module_before_;
};

// The module path of this thread, read at each op from now on; it lives as long as the thread does.
void set_profile_module(const std::string* path);

// For Tensor only: the op that runs asks for the elements of `t`, of which this is the first.
void note_touched(const Tensor& t, const std::byte* first);

}  // namespace subquad
