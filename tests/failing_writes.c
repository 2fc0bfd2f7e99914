// Preloaded into a program, fails its n-th call that changes a file below a folder.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static char last[64];
static int error;
static long left;

void fail_at(const char *below, long call, int number) {
  snprintf(folder, sizeof folder, "%s", below);
  last[0] = 0, error = number;
  __atomic_store_n(&left, call, __ATOMIC_SEQ_CST);
}

// The call that failed; empty if there were fewer calls.
const char *failed(void) {
  __atomic_store_n(&left, 0, __ATOMIC_SEQ_CST);
  return last;
}

static int fails(const char *call, const char *path) {
  if (!left || strncmp(path, folder, strlen(folder)) != 0) return 0;
  if (__atomic_fetch_sub(&left, 1, __ATOMIC_SEQ_CST) != 1) return 0;
  snprintf(last, sizeof last, "%s", call);
  errno = error;
  return 1;
}

static int fails_open(const char *call, int file) {
  char link[64], path[PATH_MAX] = "";
  if (!left) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  if (readlink(link, path, sizeof path - 1) < 0) return 0;
  return fails(call, path);
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define OPEN(name)                                                        \
  int name(const char *path, int flags, ...) {                            \
    va_list rest;                                                         \
    va_start(rest, flags);                                                \
    mode_t mode = va_arg(rest, mode_t);                                   \
    va_end(rest);                                                         \
    REAL(name);                                                           \
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && fails("open", path)) return -1; \
    return real(path, flags, mode);                                       \
  }
OPEN(open)
OPEN(open64)

#define ON_FILE(type, name, parameters, arguments)     \
  type name parameters {                               \
    REAL(name);                                        \
    return fails_open(#name, file) ? -1 : real arguments; \
  }
ON_FILE(ssize_t, write, (int file, const void *data, size_t size), (file, data, size))
ON_FILE(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t at),
        (file, data, size, at))
ON_FILE(ssize_t, writev, (int file, const struct iovec *parts, int count), (file, parts, count))
ON_FILE(int, fsync, (int file), (file))
ON_FILE(int, fdatasync, (int file), (file))
ON_FILE(int, ftruncate64, (int file, off64_t size), (file, size))

#define ON_PATH(name, parameters, arguments)        \
  int name parameters {                             \
    REAL(name);                                     \
    return fails(#name, path) ? -1 : real arguments; \
  }
ON_PATH(mkdir, (const char *path, mode_t mode), (path, mode))
ON_PATH(rename, (const char *path, const char *to), (path, to))
