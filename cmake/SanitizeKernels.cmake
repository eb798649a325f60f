# The tests of the server run against a binary whose kernels are not instrumented: 25 tokens per second
# would leave no time for the requests. The kernels have unit tests of their own under the sanitizers.
if(SERVAL_SANITIZE AND NOT SERVAL_SANITIZE_KERNELS)
  set(kernels ${PROJECT_SOURCE_DIR}/src/backend/cpu)
  set_property(SOURCE ${kernels}/isa_portable.cpp ${kernels}/isa_avx2.cpp ${kernels}/isa_avx512.cpp
    ${kernels}/isa_avx512bf16.cpp DIRECTORY ${kernels} APPEND PROPERTY COMPILE_OPTIONS -fno-sanitize=all -O3)
endif()
