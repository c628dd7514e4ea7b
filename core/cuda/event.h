// RAII around CUDA's events and streams. No CUDA header is needed to include this one.
#pragma once

struct CUevent_st;
struct CUstream_st;

namespace subquad::cuda {

// A moment in a stream: it has come when all that was put into the stream before record() is done.
class Event {
 public:
  explicit Event(bool timed = false);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(CUstream_st* stream);                  // anew each time
  bool happened() const;                             // does not wait
  void wait() const;                                 // makes the host wait
  void delay(CUstream_st* stream) const;             // makes what is put into `stream` from now on wait
  double seconds_since(const Event& earlier) const;  // both timed, and both have happened

 private:
  CUevent_st* event_ = nullptr;
  mutable bool seen_ = false;  // it has happened: CUDA, which refuses to answer while a graph is recorded, is not asked
};

// A stream beside the current one, for copies.
class Stream {
 public:
  Stream();  // of the current device
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  CUstream_st* get() const { return stream_; }

 private:
  CUstream_st* stream_ = nullptr;
};

}  // namespace subquad::cuda
