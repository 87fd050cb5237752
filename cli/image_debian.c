/*
 * ring3 image debian: a system out of Debian's packages (mmdebstrap), as a tar archive, and then a file system with it
 * (mke2fs -d).
 *
 * No privilege: both run in a user namespace with the user's subordinate ids, so that the files have the owners that
 * they should have; with root's rights they run without one. The archive is the step that takes long: it stays in the
 * cache until the image is complete, so that an interrupted or failed run goes on from there.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image.h"
#include "message.h"
#include "process.h"
#include "recipe.h"
#include "ring3.h"
#include "status.h"
#include "store.h"
#include "verb.h"

#define WHO         "image debian"
#define SUITE       "bookworm"
#define SIZE        (8ull << 30)
#define SIZE_LEAST  (1ull << 30)
#define WORDS_MAX   32
#define MIRRORS_MAX 8

struct build {
    const struct image_args *args;
    const char *suite;
    uint64_t size;
    bool root;              /* we have root's rights */
    char host[64];          /* name of the machine inside */
    char uuid[40];          /* of the file system */
    char work[PATH_MAX];    /* in the cache */
    char archive[PATH_MAX]; /* there: the system */
    char log[PATH_MAX];     /* there: what the programs said */
    char mirror[MIRRORS_MAX][300];
    unsigned mirrors;
    char last[500]; /* the last line that said what is wrong */
    struct store_new image;
};

/* --- what has to be there --------------------------------------------------------------------------------------- */

static const struct {
    const char *program, *package;
    bool always; /* also for root */
} programs[] = {
    {"mmdebstrap", "mmdebstrap", true}, {"mke2fs", "e2fsprogs", true},  {"tar", "tar", true},
    {"newuidmap", "uidmap", false},     {"newgidmap", "uidmap", false},
};

static int check_programs(const struct build *b)
{
    char path[PATH_MAX], missing[200] = "", packages[200] = "";
    const char *last = "";
    for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
        if ((b->root && !programs[i].always) || process_find(programs[i].program, path, sizeof(path)))
            continue;
        size_t m = strlen(missing), p = strlen(packages);
        (void)snprintf(missing + m, sizeof(missing) - m, "%s%s", m ? ", " : "", programs[i].program);
        if (strcmp(last, programs[i].package) != 0)
            (void)snprintf(packages + p, sizeof(packages) - p, " %s", programs[i].package);
        last = programs[i].package;
    }
    if (!missing[0])
        return 0;
    message(WHO ": not installed: %s; run: apt-get install%s", missing, packages);
    return EXIT_USAGE;
}

/* Does a line of the file begin with the user's name or number? */
static bool has_range(const char *path, const char *user)
{
    char line[300], number[24];
    bool found = false;
    FILE *f = fopen(path, "re");
    (void)snprintf(number, sizeof(number), "%u", (unsigned)getuid());
    while (f && !found && fgets(line, sizeof(line), f)) {
        size_t n = strcspn(line, ":");
        line[n] = '\0';
        found = strcmp(line, user) == 0 || strcmp(line, number) == 0;
    }
    if (f)
        (void)fclose(f);
    return found;
}

static bool has_namespaces(void)
{
    int status = 1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(unshare(CLONE_NEWUSER) ? 1 : 0);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && status == 0;
}

static int check_rights(const struct build *b)
{
    const struct passwd *who = getpwuid(getuid());
    const char *user = who ? who->pw_name : "USER";
    if (b->root)
        return 0;
    if (!has_range("/etc/subuid", user) || !has_range("/etc/subgid", user)) {
        message(WHO ": %s has no subordinate ids; once, as root: usermod --add-subuids 100000-165535 --add-subgids "
                    "100000-165535 %s",
                user, user);
        return EXIT_USAGE;
    }
    if (has_namespaces())
        return 0;
    message(WHO ": the host refuses user namespaces; as root: sysctl -w user.max_user_namespaces=10000 "
                "kernel.unprivileged_userns_clone=1, in a container: give it a seccomp profile that allows unshare, or "
                "run this as root");
    return EXIT_USAGE;
}

/* --- running programs ------------------------------------------------------------------------------------------- */

static void note_line(void *opaque, const char *text)
{
    struct build *b = opaque;
    if (strncmp(text, "I: ", 3) == 0 && strncmp(text, "I: running --", 13) != 0 && !strstr(text, "tempdir"))
        status_step(WHO " %s: %.150s", b->image.image.name, text + 3);
    else if (strncmp(text, "E: ", 3) == 0 || strstr(text, "rror") || strstr(text, "Could not"))
        (void)snprintf(b->last, sizeof(b->last), "%s", text);
}

/* Where it stands: what failed, why, and where more can be read. */
static int failed(const struct build *b, const char *what)
{
    if (status_signal())
        return EXIT_HOST; /* the process is about to end by it */
    status_clear();
    message(WHO ": %s failed%s%.300s; all that it said is in %s", what, b->last[0] ? ": " : "", b->last, b->log);
    return EXIT_HOST;
}

static int run(struct build *b, const char *what, const char *const *argv, int output)
{
    struct process p = {.argv = argv, .log = b->log, .output = output, .line = note_line, .opaque = b};
    b->last[0] = '\0';
    return process_run(&p) == 0 ? 0 : failed(b, what);
}

/* --- the archive ------------------------------------------------------------------------------------------------ */

/* A line of `apt-get indextargets`: URI suite component. Those of the host's own mirror for this suite are taken. */
static void note_mirror(void *opaque, const char *text)
{
    struct build *b = opaque;
    char uri[200], suite[60], component[40];
    size_t length = strlen(b->suite);
    if (sscanf(text, "%199s %59s %39s", uri, suite, component) != 3 || b->mirrors == MIRRORS_MAX)
        return;
    if (strcmp(component, "main") == 0 && strncmp(suite, b->suite, length) == 0 &&
        (!suite[length] || strcmp(suite + length, "-updates") == 0 || strcmp(suite + length, "-security") == 0))
        (void)snprintf(b->mirror[b->mirrors++], sizeof(b->mirror[0]), "deb %s %s main", uri, suite);
}

/* What the host gets its own packages from is near, and reachable. Without, mmdebstrap takes deb.debian.org. */
static void find_mirrors(struct build *b)
{
    static const char *const argv[] = {"sh", "-c",
                                       "apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' "
                                       "'Created-By: Packages' 'Origin: Debian' 2>/dev/null | sort -u >&2",
                                       NULL};
    struct process p = {.argv = argv, .output = -1, .line = note_mirror, .opaque = b};
    if (b->args->mirror) {
        (void)snprintf(b->mirror[0], sizeof(b->mirror[0]), "%.299s", b->args->mirror);
        b->mirrors = 1;
    } else if (process_run(&p)) {
        b->mirrors = 0;
    }
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static int make_archive(struct build *b)
{
    const char *argv[WORDS_MAX];
    char include[2000], customize[RECIPE_MAX], part[PATH_MAX + 8];
    unsigned n = 0;
    if (exists(b->archive)) {
        status_step(WHO " %s: goes on with the system that is in %s", b->image.image.name, b->work);
        return 0;
    }
    (void)snprintf(part, sizeof(part), "%s.part", b->archive);
    int length = snprintf(include, sizeof(include), "--include=%s%s%s", recipe_packages, b->args->include ? "," : "",
                          b->args->include ? b->args->include : "");
    if (length >= (int)sizeof(include) || !recipe_customize(customize, b->host, b->uuid, b->suite)) {
        message(WHO ": --include: the list is too long");
        return EXIT_USAGE;
    }
    find_mirrors(b);
    const char *const words[] = {"mmdebstrap",
                                 b->root ? "--mode=root" : "--mode=unshare",
                                 "--variant=minbase",
                                 "--format=tar",
                                 "--aptopt=Acquire::Languages \"none\"",
                                 recipe_setup,
                                 customize,
                                 include,
                                 b->suite,
                                 "-"};
    for (; n < sizeof(words) / sizeof(words[0]); n++)
        argv[n] = words[n];
    for (unsigned i = 0; i < b->mirrors; i++)
        argv[n++] = b->mirror[i];
    argv[n] = NULL;
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        message(WHO ": %s: %s", part, strerror(errno));
        return EXIT_HOST;
    }
    status_step(WHO " %s: %s", b->image.image.name, "getting ready");
    int status = run(b, "mmdebstrap", argv, fd);
    bool good = close(fd) == 0 && !status;
    if (good && rename(part, b->archive) == 0)
        return 0;
    if (!status)
        message(WHO ": %s: %s", b->archive, strerror(errno));
    (void)unlink(part);
    return status ? status : EXIT_HOST;
}

/* --- the disk --------------------------------------------------------------------------------------------------- */

/* $1 the archive, $2 where a folder for its files goes, $3 the disk, $4 the UUID. Device files cannot be made in a
 * namespace, and are not missed: the kernel makes its own. A folder that somebody left is taken away; one of a run that
 * was killed may still be filled. */
static const char fill_disk[] =
    "d=$2-$$; trap 'rm -rf \"$d\"' EXIT; trap 'exit 1' INT TERM HUP; rm -rf \"$2\"-* 2>/dev/null; mkdir \"$d\" && "
    "tar -x -f \"$1\" -C \"$d\" --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*' && "
    "mke2fs -q -F -t ext4 -m 1 -U \"$4\" -E lazy_itable_init=0,lazy_journal_init=0 -d \"$d\" \"$3\" >&2";

static int make_disk(struct build *b)
{
    char files[PATH_MAX + 8];
    const char *disk = b->image.image.disk;
    int fd = open(disk, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    bool good = fd >= 0 && ftruncate(fd, (off_t)b->size) == 0;
    if (!good)
        message(WHO ": %s: %s", disk, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    if (!good)
        return EXIT_HOST;
    (void)snprintf(files, sizeof(files), "%s/files", b->work);
    const char *const own[] = {"sh", "-c", fill_disk, "sh", b->archive, files, disk, b->uuid, NULL};
    const char *const mapped[] = {"unshare", "--map-root-user", "--map-auto", "sh", "-c",    fill_disk,
                                  "sh",      b->archive,        files,        disk, b->uuid, NULL};
    status_step(WHO " %s: making the file system", b->image.image.name);
    return run(b, "mke2fs (is --size large enough?)", b->root ? own : mapped, -1);
}

/* The raw disk becomes a qcow2 one, under the same name. */
static int pack_disk(struct build *b)
{
    char raw[PATH_MAX + 8];
    struct ring3_error err;
    const char *disk = b->image.image.disk;
    (void)snprintf(raw, sizeof(raw), "%s.raw", disk);
    struct ring3_disk_copy copy = {
        .from = {.path = raw, .format = "raw"}, .to = disk, .format = "qcow2", .progress = status_progress};
    if (rename(disk, raw)) {
        message(WHO ": %s: %s", disk, strerror(errno));
        return EXIT_HOST;
    }
    status_step(WHO " %s: converting to qcow2", b->image.image.name);
    int status = ring3_disk_convert(&copy, &err);
    (void)unlink(raw);
    status_clear();
    if (status && !status_signal())
        message(WHO ": %s", err.text);
    return status ? EXIT_HOST : 0;
}

/* --- all of it -------------------------------------------------------------------------------------------------- */

static void make_uuid(char text[40])
{
    unsigned char b[16] = {0};
    if (getrandom(b, sizeof(b), 0) < 0)
        (void)snprintf((char *)b, sizeof(b), "%x", (unsigned)getpid());
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40); /* version 4 of RFC 4122 */
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    (void)snprintf(text, 40, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2],
                   b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

static bool read_line(FILE *f, char *line, int size)
{
    if (!f || !fgets(line, size, f))
        return false;
    line[strcspn(line, "\n")] = '\0';
    return true;
}

/* An archive from an earlier try counts if it was made of the same: the first line of `recipe`. The second is the UUID,
 * which stands in the archive too. */
static int open_work(struct build *b)
{
    char name[80], path[PATH_MAX + 8], wanted[3000], line[3000];
    (void)snprintf(name, sizeof(name), "build/%s", b->image.image.name);
    int status = store_cache(WHO, name, b->work);
    if (status)
        return status;
    (void)snprintf(b->archive, sizeof(b->archive), "%.*s/system.tar", PATH_MAX - 20, b->work);
    (void)snprintf(b->log, sizeof(b->log), "%.*s/log", PATH_MAX - 20, b->work);
    (void)snprintf(path, sizeof(path), "%s/recipe", b->work);
    (void)snprintf(wanted, sizeof(wanted), "%d %s %s %s", RECIPE_VERSION, b->suite,
                   b->args->include ? b->args->include : "-", b->args->mirror ? b->args->mirror : "-");
    FILE *f = fopen(path, "re");
    bool same = read_line(f, line, sizeof(line)) && strcmp(line, wanted) == 0 &&
                read_line(f, b->uuid, sizeof(b->uuid)) && strspn(b->uuid, "0123456789abcdef-") == 36;
    if (f)
        (void)fclose(f);
    (void)unlink(b->log);
    if (same)
        return 0;
    (void)unlink(b->archive);
    make_uuid(b->uuid);
    f = fopen(path, "we");
    bool good = f && fprintf(f, "%s\n%s\n", wanted, b->uuid) > 0;
    good = f && fclose(f) == 0 && good;
    if (!good)
        message(WHO ": %s: %s", path, strerror(errno));
    return good ? 0 : EXIT_HOST;
}

/* Host names have letters, digits and hyphens. */
static void name_host(struct build *b)
{
    (void)snprintf(b->host, sizeof(b->host), "%s", b->image.image.name);
    for (char *p = b->host; *p; p++)
        if (*p == '_' || *p == '.')
            *p = '-';
}

static int make(struct build *b)
{
    struct store_image *image = &b->image.image;
    bool qcow2 = b->args->format && strcmp(b->args->format, "qcow2") == 0;
    name_host(b);
    int status = open_work(b);
    if (!status)
        status = make_archive(b);
    if (!status)
        status = make_disk(b);
    if (!status && qcow2)
        status = pack_disk(b);
    if (status)
        return status;
    (void)snprintf(image->format, sizeof(image->format), "%s", qcow2 ? "qcow2" : "raw");
    (void)snprintf(image->origin, sizeof(image->origin), "Debian %.100s", b->suite);
    status = store_finish(WHO, &b->image);
    if (!status)
        store_clear_folder(b->work);
    return status;
}

int image_debian(const struct image_args *a)
{
    struct build b = {
        .args = a, .suite = a->suite ? a->suite : SUITE, .size = a->size ? a->size : SIZE, .root = geteuid() == 0};
    if (b.size < SIZE_LEAST) {
        message(WHO ": --size: Debian does not fit; give 1G or more");
        return EXIT_USAGE;
    }
    if (!store_name_good(b.suite)) {
        message(WHO ": --suite %s: not a suite of Debian; give bookworm, trixie or the like", b.suite);
        return EXIT_USAGE;
    }
    int status = check_programs(&b);
    if (!status)
        status = check_rights(&b);
    if (!status)
        status = store_begin(WHO, a->word[0], &b.image);
    if (status) {
        store_cancel(&b.image);
        return status;
    }
    status_begin();
    status = make(&b);
    store_cancel(&b.image);
    status_end();
    if (!status)
        message("%s is made; `ring3 run %s` starts it", a->word[0], a->word[0]);
    return status;
}
