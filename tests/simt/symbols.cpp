// Names of functions, from the symbol table of the running program: local symbols, which the dynamic linker does not
// know, are there too.
#include <cxxabi.h>
#include <elf.h>
#include <link.h>
#include <simt/launch.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

namespace simt {
namespace {

class Symbols {
 public:
  Symbols() : file_(read("/proc/self/exe")) {
    dl_iterate_phdr(
        [](dl_phdr_info* program, std::size_t, void* base) {
          *static_cast<std::uintptr_t*>(base) = program->dlpi_addr;
          return 1;  // the program comes first
        },
        &base_);
    const auto* const header = at<Elf64_Ehdr>(0);
    const auto* const sections = at<Elf64_Shdr>(header->e_shoff);
    for (int i = 0; i < header->e_shnum; ++i)
      if (sections[i].sh_type == SHT_SYMTAB) add(sections[i], sections[sections[i].sh_link]);
    std::sort(functions_.begin(), functions_.end());
  }

  const char* name(const void* function) const {
    const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(function) - base_;
    const auto found = std::lower_bound(functions_.begin(), functions_.end(), Function{address, nullptr});
    return found == functions_.end() || found->address != address ? nullptr : found->name;
  }

 private:
  struct Function {
    std::uintptr_t address;
    const char* name;
    bool operator<(const Function& other) const { return address < other.address; }
  };

  static std::vector<char> read(const char* path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  template <class T>
  const T* at(std::size_t offset) const {
    return reinterpret_cast<const T*>(file_.data() + offset);
  }
  void add(const Elf64_Shdr& table, const Elf64_Shdr& names) {
    const auto* const symbols = at<Elf64_Sym>(table.sh_offset);
    for (std::size_t i = 0; i < table.sh_size / sizeof(Elf64_Sym); ++i)
      if (ELF64_ST_TYPE(symbols[i].st_info) == STT_FUNC && symbols[i].st_value != 0)
        functions_.push_back({symbols[i].st_value, at<char>(names.sh_offset + symbols[i].st_name)});
  }

  std::vector<char> file_;
  std::uintptr_t base_ = 0;
  std::vector<Function> functions_;
};

std::string demangled(const char* symbol) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(symbol, nullptr, nullptr, &status), std::free);
  return status == 0 ? text.get() : symbol;
}

void remove_all(std::string& text, const std::string& part) {
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at)) text.erase(at, part.size());
}

}  // namespace

const char* symbol(const void* function) {
  static const Symbols& symbols = *new Symbols;  // never destroyed: the launch log asks at exit
  return symbols.name(function);
}

std::string kernel_name(const void* function) {
  const char* const mangled = symbol(function);
  if (mangled == nullptr) return "a kernel without a name";
  std::string name = demangled(mangled);
  remove_all(name, "(anonymous namespace)::");
  remove_all(name, "[abi:kernel]");
  int depth = 0;  // of angle brackets; the parameters begin outside of them
  for (std::size_t i = 0; i < name.size(); ++i) {
    depth += name[i] == '<' ? 1 : name[i] == '>' ? -1 : 0;
    if (depth == 0 && name[i] == '(') name.resize(i);
  }
  return name.starts_with("void ") ? name.substr(5) : name;
}

}  // namespace simt

cudaError_t cudaFuncGetName(const char** name, const void* kernel) {
  *name = simt::symbol(kernel);
  return *name == nullptr ? cudaErrorInvalidDeviceFunction : cudaSuccess;
}
