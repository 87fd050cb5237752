#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "message.h"
#include "verb.h"

#define DESCRIPTION "image.json"
#define VERSION     1
#define HIDDEN      ".new-" /* before the name of one that is being made */
#define LOCKS_FROM  100     /* bytes of an image that its users lock (docs/disk.md) */
#define LOCKS       200

/* --- paths ------------------------------------------------------------------------------------------------------ */

static bool join(char path[PATH_MAX], const char *folder, const char *name)
{
    int n = snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return n > 0 && n < PATH_MAX;
}

/* A folder of the XDG base directory specification: the variable, or a place in HOME. A relative one does not count. */
static bool base_folder(const char *variable, const char *below_home, char path[PATH_MAX])
{
    const char *base = getenv(variable), *home = getenv("HOME");
    if (base && base[0] == '/')
        return join(path, base, "ring3");
    char there[PATH_MAX];
    return home && home[0] == '/' && join(there, home, below_home) && join(path, there, "ring3");
}

static int make_folders(const char *path)
{
    char part[PATH_MAX];
    for (const char *p = strchr(path + 1, '/');; p = strchr(p + 1, '/')) {
        (void)snprintf(part, sizeof(part), "%.*s", p ? (int)(p - path) : (int)strlen(path), path);
        if (mkdir(part, 0777) < 0 && errno != EEXIST)
            return -errno;
        if (!p)
            return 0;
    }
}

static int no_home(const char *who)
{
    message("%s: neither XDG_DATA_HOME nor HOME is set; set one to an absolute path", who);
    return EXIT_USAGE;
}

static int images_folder(const char *who, char path[PATH_MAX])
{
    char base[PATH_MAX];
    return base_folder("XDG_DATA_HOME", ".local/share", base) && join(path, base, "images") ? 0 : no_home(who);
}

int store_cache(const char *who, const char *name, char path[PATH_MAX])
{
    char base[PATH_MAX];
    if (!base_folder("XDG_CACHE_HOME", ".cache", base) || !join(path, base, name))
        return no_home(who);
    int status = make_folders(path);
    if (status)
        message("%s: %s: %s", who, path, strerror(-status));
    return status ? EXIT_HOST : 0;
}

bool store_name_good(const char *name)
{
    static const char letters[] = "._-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    size_t length = strlen(name);
    return length && length <= STORE_NAME_MAX && strspn(name, letters) == length && strchr(letters + 3, name[0]);
}

/* --- descriptions ----------------------------------------------------------------------------------------------- */

static const struct {
    const char *key;
    size_t place, size;
} fields[] = {
#define FIELD(name)                                                                                                    \
    {                                                                                                                  \
#name, offsetof(struct store_image, name), sizeof(((struct store_image *)0)->name)                             \
    }
    FIELD(format), FIELD(origin), FIELD(made), FIELD(memory), FIELD(cpus), FIELD(cmdline),
#undef FIELD
};

#define FIELDS (sizeof(fields) / sizeof(fields[0]))

static bool fill(struct store_image *image, const json_t *root)
{
    if (!json_is_object(root) || json_integer_value(json_object_get(root, "version")) != VERSION)
        return false;
    for (size_t i = 0; i < FIELDS; i++) {
        const char *text = json_string_value(json_object_get(root, fields[i].key));
        if (text && strlen(text) >= fields[i].size)
            return false;
        if (text)
            memcpy((char *)image + fields[i].place, text, strlen(text) + 1);
    }
    if (strspn(image->made, "0123456789-:TZ") != strlen(image->made))
        return false; /* it is printed */
    return strcmp(image->format, "raw") == 0 || strcmp(image->format, "qcow2") == 0;
}

/* 0, -ENOENT, or -EINVAL after a message. */
static int read_image(const char *who, const char *folder, const char *name, struct store_image *out)
{
    char path[PATH_MAX], file[PATH_MAX];
    json_error_t err = {.text = ""};
    memset(out, 0, sizeof(*out));
    (void)snprintf(out->name, sizeof(out->name), "%s", name);
    if (!join(path, folder, name) || !join(out->disk, path, "disk") || !join(file, path, DESCRIPTION) ||
        access(path, F_OK))
        return -ENOENT;
    json_t *root = json_load_file(file, JSON_REJECT_DUPLICATES, &err);
    bool good = root && fill(out, root);
    json_decref(root);
    if (!good)
        message("%s: %s: %s", who, file, root ? "not a description of an image that this version knows" : err.text);
    return good ? 0 : -EINVAL;
}

static int write_description(const struct store_new *n)
{
    char path[PATH_MAX];
    json_t *root = json_pack("{s:i}", "version", VERSION);
    int status = root && join(path, n->folder, DESCRIPTION) ? 0 : -1;
    for (size_t i = 0; i < FIELDS && !status; i++) {
        const char *text = (const char *)&n->image + fields[i].place;
        json_t *value = *text ? json_string(text) : NULL; /* NULL also for the name of a file that is no UTF-8 */
        if (value)
            status = json_object_set_new(root, fields[i].key, value);
    }
    if (!status)
        status = json_dump_file(root, path, JSON_INDENT(2));
    json_decref(root);
    return status ? -1 : 0;
}

/* --- looking ---------------------------------------------------------------------------------------------------- */

static int is_image(const struct dirent *entry)
{
    return store_name_good(entry->d_name);
}

int store_each(const char *who, bool (*each)(void *opaque, const struct store_image *image), void *opaque)
{
    char folder[PATH_MAX];
    struct dirent **names;
    struct store_image image;
    bool more = true;
    int status = images_folder(who, folder);
    if (status)
        return status;
    int count = scandir(folder, &names, is_image, alphasort);
    for (int i = 0; i < count; i++) {
        if (more && read_image(who, folder, names[i]->d_name, &image) == 0)
            more = each(opaque, &image);
        free(names[i]);
    }
    if (count >= 0)
        free(names);
    return 0;
}

bool store_has(const char *name)
{
    char folder[PATH_MAX], path[PATH_MAX];
    return store_name_good(name) && images_folder("image", folder) == 0 && join(path, folder, name) &&
           access(path, F_OK) == 0;
}

/* Letters to change, add or leave out to get from one to the other; names are short. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[STORE_NAME_MAX + 2];
    size_t length = strlen(b);
    for (size_t k = 0; k <= length; k++)
        row[k] = (unsigned)k;
    for (size_t i = 0; a[i]; i++) {
        unsigned before = row[0]++;
        for (size_t k = 0; k < length; k++) {
            unsigned best = before + (a[i] != b[k]);
            best = row[k] + 1 < best ? row[k] + 1 : best;
            best = row[k + 1] + 1 < best ? row[k + 1] + 1 : best;
            before = row[k + 1];
            row[k + 1] = best;
        }
    }
    return row[length];
}

struct nearest {
    const char *name;
    char best[STORE_NAME_MAX + 1];
    unsigned distance;
};

static bool is_nearer(void *opaque, const struct store_image *image)
{
    struct nearest *n = opaque;
    unsigned d = distance(n->name, image->name);
    if (!n->best[0] || d < n->distance) {
        n->distance = d;
        memcpy(n->best, image->name, sizeof(n->best));
    }
    return true;
}

static int no_such_image(const char *who, const char *name)
{
    struct nearest n = {.name = name};
    int status = store_each(who, is_nearer, &n);
    if (status)
        return status;
    if (!n.best[0])
        message("%s: %s: no such file or image; `ring3 image debian %s` makes one", who, name,
                store_name_good(name) ? name : "NAME");
    else if (strlen(name) <= STORE_NAME_MAX && n.distance <= 1 + strlen(name) / 3)
        message("%s: %s: no such file or image; is it %s that is meant?", who, name, n.best);
    else
        message("%s: %s: no such file or image; `ring3 image list` shows what there is", who, name);
    return EXIT_USAGE;
}

int store_find(const char *who, const char *name, struct store_image *out)
{
    char folder[PATH_MAX];
    int status = images_folder(who, folder);
    if (status)
        return status;
    status = store_name_good(name) ? read_image(who, folder, name, out) : -ENOENT;
    return status == -ENOENT ? no_such_image(who, name) : status ? EXIT_USAGE : 0;
}

/* --- use -------------------------------------------------------------------------------------------------------- */

static struct flock users(void)
{
    return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCKS_FROM, .l_len = LOCKS};
}

bool store_is_used(const struct store_image *image)
{
    struct flock lock = users();
    int fd = open(image->disk, O_RDONLY | O_CLOEXEC);
    bool used = fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    if (fd >= 0)
        (void)close(fd);
    return used;
}

void store_clear_folder(const char *path)
{
    char file[PATH_MAX];
    DIR *dir = opendir(path);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && join(file, path, entry->d_name))
            (void)unlink(file);
    if (dir)
        (void)closedir(dir);
    (void)rmdir(path);
}

/* Nobody can begin to use the disk while it is locked, and nobody finds it once its folder has another name. */
int store_remove(const char *who, const char *name)
{
    struct store_image image;
    struct flock lock = users();
    char folder[PATH_MAX], from[PATH_MAX], to[PATH_MAX];
    if (!store_has(name))
        return no_such_image(who, name);
    if (images_folder(who, folder) || !join(from, folder, name) || !join(image.disk, from, "disk"))
        return EXIT_USAGE;
    int fd = open(image.disk, O_RDWR | O_CLOEXEC); /* one without a disk goes too */
    if (fd >= 0 && fcntl(fd, F_OFD_SETLK, &lock) < 0 && (errno == EAGAIN || errno == EACCES)) {
        message("%s: %s: is in use by a machine; end that one first", who, name);
        (void)close(fd);
        return EXIT_USAGE;
    }
    int n = snprintf(to, sizeof(to), "%s/.old-%s-%d", folder, name, (int)getpid());
    bool moved = n > 0 && n < PATH_MAX && rename(from, to) == 0;
    if (moved)
        store_clear_folder(to);
    else
        message("%s: %s: %s", who, from, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return moved ? EXIT_GOOD : EXIT_HOST;
}

/* --- making ----------------------------------------------------------------------------------------------------- */

static int take_lock(const char *who, struct store_new *n, const char *folder)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof(path), "%s/" HIDDEN "%s.lock", folder, n->image.name);
    if (length < 0 || length >= PATH_MAX) {
        message("%s: %s: the path is too long", who, folder);
        return EXIT_USAGE;
    }
    n->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (n->lock >= 0 && flock(n->lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (n->lock >= 0 && errno == EWOULDBLOCK)
        message("%s: %s: another ring3 is making it; wait for that one", who, n->image.name);
    else
        message("%s: %s: %s", who, path, strerror(errno));
    return n->lock >= 0 ? EXIT_USAGE : EXIT_HOST;
}

int store_begin(const char *who, const char *name, struct store_new *out)
{
    char folder[PATH_MAX];
    memset(out, 0, sizeof(*out));
    out->lock = -1;
    if (!store_name_good(name)) {
        message("%s: %s: not a name for an image; give up to %d letters, digits, '.', '_' and '-'", who, name,
                STORE_NAME_MAX);
        return EXIT_USAGE;
    }
    (void)snprintf(out->image.name, sizeof(out->image.name), "%s", name);
    int status = images_folder(who, folder);
    if (status)
        return status;
    if (store_has(name)) {
        message("%s: %s: is there already; `ring3 image remove %s` removes it", who, name, name);
        return EXIT_USAGE;
    }
    int made = make_folders(folder);
    int n = snprintf(out->folder, sizeof(out->folder), "%s/" HIDDEN "%s", folder, name);
    if (made || n < 0 || n >= PATH_MAX || !join(out->image.disk, out->folder, "disk")) {
        message("%s: %s: %s", who, folder, strerror(made ? -made : ENAMETOOLONG));
        return EXIT_HOST;
    }
    status = take_lock(who, out, folder);
    if (status)
        return status;
    store_clear_folder(out->folder);
    if (mkdir(out->folder, 0777) == 0)
        return 0;
    message("%s: %s: %s", who, out->folder, strerror(errno));
    return EXIT_HOST;
}

static bool make_durable(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        (void)close(fd);
    return good;
}

static void note_time(struct store_image *image)
{
    struct tm tm;
    time_t now = time(NULL);
    if (gmtime_r(&now, &tm))
        (void)strftime(image->made, sizeof(image->made), "%Y-%m-%dT%H:%M:%SZ", &tm);
}

int store_finish(const char *who, struct store_new *n)
{
    char folder[PATH_MAX], to[PATH_MAX], description[PATH_MAX];
    note_time(&n->image);
    errno = 0;
    bool good = images_folder(who, folder) == 0 && join(to, folder, n->image.name) &&
                join(description, n->folder, DESCRIPTION) && write_description(n) == 0 && make_durable(description) &&
                make_durable(n->image.disk) && make_durable(n->folder) && rename(n->folder, to) == 0 &&
                make_durable(folder);
    if (!good)
        message("%s: %s: cannot be written: %s", who, n->image.name, strerror(errno));
    store_cancel(n);
    return good ? EXIT_GOOD : EXIT_HOST;
}

void store_cancel(struct store_new *n)
{
    char path[PATH_MAX];
    if (n->lock < 0)
        return;
    store_clear_folder(n->folder);
    int length = snprintf(path, sizeof(path), "%s.lock", n->folder);
    if (length > 0 && length < PATH_MAX)
        (void)unlink(path);
    (void)close(n->lock);
    n->lock = -1;
}
