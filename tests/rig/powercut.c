/* A power cut for tests: of the files below POWERCUT_DIR only what was synced reaches POWERCUT_SHADOW.
 *
 * LD_PRELOAD it. When fsync or fdatasync of such a file succeeds, the file's present content becomes its shadow copy
 * (fsync flushes all dirty pages of the file, whoever wrote them), atomically, before the call returns: whatever the
 * program acknowledges after a sync is in the shadow. A file that was never synced is not there.
 *
 * The copy is made through the descriptor that is being synced: opening and closing the file here would drop the
 * process's POSIX locks on it, which SQLite relies on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int below(const char *path, char *shadow, size_t size) {
    const char *dir = getenv("POWERCUT_DIR"), *to = getenv("POWERCUT_SHADOW");
    size_t length = dir ? strlen(dir) : 0;
    if (!dir || !to || strncmp(path, dir, length) != 0 || path[length] != '/') return 0;
    return snprintf(shadow, size, "%s%s", to, path + length) < (int)size;
}

static void make_parents(const char *path) {
    char part[PATH_MAX];
    for (const char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(at - path), path);
        mkdir(part, 0700);
    }
}

static int copy(int from, const char *shadow) {
    char temporary[PATH_MAX + 32], buffer[1 << 16];
    ssize_t got;
    off_t at = 0;
    snprintf(temporary, sizeof temporary, "%s.%d.new", shadow, (int)gettid());
    int to = open(temporary, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (to < 0) return -1;
    while ((got = pread(from, buffer, sizeof buffer, at)) > 0) {
        if (write(to, buffer, (size_t)got) != got) got = -1;
        if (got < 0) break;
        at += got;
    }
    close(to);
    return got < 0 ? -1 : rename(temporary, shadow);
}

static int synced(int fd, int result) {
    int saved = errno, failed = 0;
    char link[64], path[PATH_MAX], shadow[PATH_MAX];
    struct stat file;
    if (result != 0) return result;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length > 0 && fstat(fd, &file) == 0 && S_ISREG(file.st_mode)) {
        path[length] = 0;
        if (below(path, shadow, sizeof shadow)) {
            make_parents(shadow);
            char lock_path[PATH_MAX + 8];
            snprintf(lock_path, sizeof lock_path, "%s.lock", getenv("POWERCUT_SHADOW"));
            int lock = open(lock_path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
            flock(lock, LOCK_EX); /* two processes sync one file: the later copy must be the newer content */
            failed = copy(fd, shadow);
            close(lock);
        }
    }
    errno = failed ? EIO : saved;
    return failed;
}

int fsync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return synced(fd, real(fd));
}

int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return synced(fd, real(fd));
}

int unlink(const char *path) {
    int (*real)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    char shadow[PATH_MAX];
    if (below(path, shadow, sizeof shadow)) real(shadow);
    return real(path);
}
