# The module sdfast._cuda: kernels for the GPU generations in use, and PTX for those to come. The CUDA runtime is linked
# in, which looks for a driver at the first call only: the module can be imported on any machine.
if(SDFAST_CUDA STREQUAL "AUTO" OR SDFAST_CUDA)
  find_package(CUDAToolkit 12.0 QUIET)
  if(CUDAToolkit_FOUND AND NOT DEFINED CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    set(ENV{CUDACXX} "${CUDAToolkit_NVCC_EXECUTABLE}")
  endif()
  include(CheckLanguage)
  check_language(CUDA)
endif()
if(NOT CMAKE_CUDA_COMPILER OR NOT CUDAToolkit_FOUND)
  if(NOT SDFAST_CUDA STREQUAL "AUTO" AND SDFAST_CUDA)
    message(FATAL_ERROR "SDFAST_CUDA=ON: no CUDA toolkit 12.0 or newer with a working nvcc was found; "
                        "set CUDACXX to its nvcc, or SDFAST_CUDA=OFF")
  endif()
  message(STATUS "sdfast: without CUDA kernels")
  return()
endif()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  if(CUDAToolkit_VERSION VERSION_GREATER_EQUAL 12.8)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 100-real 100-virtual)
  else()
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 90-virtual)
  endif()
endif()
enable_language(CUDA)

file(GLOB SDFAST_CUDA_KERNELS CONFIGURE_DEPENDS csrc/cuda/*.cu)
list(LENGTH SDFAST_CUDA_KERNELS files)
list(LENGTH CMAKE_CUDA_ARCHITECTURES targets)
math(EXPR minutes "(5 * ${targets} + 1) / 2")  # as long as a slow core takes
message(NOTICE "sdfast: compiling ${files} files of CUDA kernels for ${CMAKE_CUDA_ARCHITECTURES}: about ${minutes} minutes "
               "on one core; CMAKE_CUDA_ARCHITECTURES=native is for the GPU at hand alone, in about 3")
add_library(cuda_kernels OBJECT ${SDFAST_CUDA_KERNELS})
sdfast_options(cuda_kernels)
set_target_properties(cuda_kernels PROPERTIES CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON CUDA_VISIBILITY_PRESET hidden)
target_compile_options(cuda_kernels PRIVATE -Xcompiler=-Wall,-Wextra)
if(SDFAST_WERROR)
  target_compile_options(cuda_kernels PRIVATE -Werror=all-warnings -Xcompiler=-Werror)
endif()
# What is dropped must be the same on every device: no fused multiply-add there.
set_source_files_properties(
  csrc/cuda/static_dropout_rows.cu csrc/cuda/static_dropout_columns.cu PROPERTIES COMPILE_OPTIONS -fmad=false
)

file(GLOB SDFAST_CUDA_SOURCES CONFIGURE_DEPENDS csrc/bind/*_cuda.cpp csrc/core/*.cpp csrc/cuda/*.cpp)
pybind11_add_module(
  _cuda csrc/bind/tasks.cpp csrc/bind/tensors.cpp ${SDFAST_CUDA_SOURCES} $<TARGET_OBJECTS:cuda_kernels>
)
sdfast_options(_cuda)
target_link_libraries(_cuda PRIVATE CUDA::cudart_static)
install(TARGETS _cuda LIBRARY DESTINATION sdfast)
