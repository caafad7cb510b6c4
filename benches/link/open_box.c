/* Stands where a builder starts `quicc sandbox-init`, and runs the one program of a plan without mounts, without
 * namespaces for processes, networks and the like, and without limits. A user namespace it has: the builder maps its
 * user. Reads and writes what src/sandbox/{channel,plan_codec,message}.rs do. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { UNSHARED = 0, REPORT = 3, EXITED = 0 };
enum { MOST = 1 << 16 };

static const char *plan, *end;

static void need(int is_right, const char *what)
{
    if (!is_right) {
        perror(what);
        exit(1);
    }
}

static uint64_t number(size_t bytes)
{
    uint64_t value = 0;
    need(plan + bytes <= end, "plan");
    memcpy(&value, plan, bytes);
    plan += bytes;
    return value;
}

static char *text(void)
{
    size_t length = number(8);
    need(plan + length <= end, "plan");
    char *copy = strndup(plan, length);
    plan += length;
    return copy;
}

static void whole_read(char *to, size_t length)
{
    while (length) {
        ssize_t got = read(0, to, length);
        need(got > 0, "read");
        to += got;
        length -= got;
    }
}

static void say(const void *message, uint32_t length)
{
    char framed[4 + 64];
    memcpy(framed, &length, 4);
    memcpy(framed + 4, message, length);
    need(write(1, framed, length + 4) == (ssize_t)length + 4, "write");
}

/* The path on the host of a path inside: below the deepest output directory that leads there. */
static char *outside(const char *inside, char **targets, char **sources, size_t count)
{
    char *found = 0;
    size_t deepest = 0;
    for (size_t turn = 0; turn < count; turn++) {
        size_t length = strlen(targets[turn]);
        if (length < deepest || strncmp(inside, targets[turn], length) || inside[length] != '/')
            continue;
        deepest = length;
        need(asprintf(&found, "%s%s", sources[turn], inside + length) > 0, "path");
    }
    return found;
}

int main(void)
{
    need(!unshare(CLONE_NEWUSER), "unshare");
    char unshared = UNSHARED;
    say(&unshared, 1);
    uint32_t length;
    whole_read((char *)&length, 4);
    char *message = malloc(length);
    whole_read(message, length);
    plan = message;
    end = message + length;

    char *root = text();
    size_t count = number(8);
    char **sources = calloc(count + 1, sizeof *sources), **targets = calloc(count + 1, sizeof *targets);
    for (size_t turn = 0; turn < count; turn++) {
        sources[turn] = text();
        targets[turn] = text();
    }
    for (size_t left = number(8); left; left--) {
        text();
        text();
    }
    text();
    text();
    need(number(8) == 1, "one step");
    char *inside = text(), *program;
    size_t arguments = number(8);
    need(arguments < MOST, "arguments");
    char **argv = calloc(arguments + 1, sizeof *argv);
    for (size_t turn = 0; turn < arguments; turn++)
        argv[turn] = text();
    char *cwd = text();

    /* What is opened as the builder stays open for the job's user. */
    need(asprintf(&program, "%s%s", root, inside) > 0, "path");
    int executable = open(program, O_PATH | O_CLOEXEC), status = 127 << 8;
    for (size_t turn = 0; turn + 1 < arguments; turn++) {
        if (strcmp(argv[turn], "-o"))
            continue;
        char *output = argv[turn + 1], *slash;
        if (*output != '/')
            need(asprintf(&output, "%s/%s", cwd, output) > 0, "path");
        output = outside(output, targets, sources, count);
        need(!!output, "an output directory");
        slash = strrchr(output, '/');
        *slash = 0;
        int directory = open(output, O_PATH | O_DIRECTORY);
        need(directory >= 0, output);
        need(asprintf(&argv[turn + 1], "/proc/self/fd/%d/%s", directory, slash + 1) > 0, "path");
    }
    need(!setgroups(0, 0) && !setresgid(0, 0, 0) && !setresuid(0, 0, 0), "user");
    if (executable >= 0) {
        pid_t child = vfork();
        need(child >= 0, "fork");
        if (!child) {
            char *none[] = {0};
            execveat(executable, "", argv, none, AT_EMPTY_PATH);
            _exit(127);
        }
        need(waitpid(child, &status, 0) == child, "wait");
    }
    char report[1 + 1 + 4 + 8 + 8 + 12 + 12 + 8] = {REPORT, EXITED, WIFEXITED(status) ? WEXITSTATUS(status) : 1};
    say(report, sizeof report);
    return 0;
}
