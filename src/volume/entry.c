#include "volume/entry.h"

#include <string.h>
#include <strings.h>

#define BLANKS " \t\r"

/* The next line, its end made a zero; NULL at the end of the text. */
static char *line_next(char **text)
{
    char *line = *text;
    if (!line || !*line)
        return NULL;
    char *end = strchr(line, '\n');
    *text = end ? end + 1 : NULL;
    if (end)
        *end = '\0';
    return line;
}

/* The next word of a line, without quotes and backslashes where `shell` says that they are none of the word's. */
static char *word_next(char **line, bool shell)
{
    char *from = *line + strspn(*line, BLANKS), *word = from, *to = from, quote = 0;
    if (!*from || (shell && *from == '#'))
        return NULL;
    for (; *from && (quote || !strchr(BLANKS, *from)); from++) {
        if (shell && quote && *from == quote)
            quote = 0;
        else if (shell && !quote && (*from == '"' || *from == '\''))
            quote = *from;
        else if (shell && quote != '\'' && *from == '\\' && from[1])
            *to++ = *++from;
        else
            *to++ = *from;
    }
    *line = *from ? from + 1 : from;
    *to = '\0';
    return word;
}

/* Behind GRUB's name of a disk, for which the one at hand is taken. */
static const char *skip_disk(const char *path)
{
    const char *end = *path == '(' ? strchr(path, ')') : NULL;
    return end ? end + 1 : path;
}

static bool put_path(char to[ENTRY_PATH], const char *path)
{
    path = skip_disk(path);
    size_t slash = *path == '/' ? 0 : 1, length = strlen(path);
    if (!length || length + slash >= ENTRY_PATH)
        return false;
    to[0] = '/';
    memcpy(to + slash, path, length + 1);
    return true;
}

static bool add_initrd(struct entry *e, const char *path)
{
    if (strchr(skip_disk(path), '$'))
        return true;
    return e->initrds < ENTRY_INITRDS && put_path(e->initrd[e->initrds++], path);
}

bool entry_add_word(struct entry *e, const char *word)
{
    size_t have = strlen(e->options), length = strlen(word), blank = have ? 1 : 0;
    if (have + blank + length >= sizeof(e->options))
        return false;
    if (blank)
        e->options[have] = ' ';
    memcpy(e->options + have + blank, word, length + 1);
    return true;
}

bool entry_has_word(const char *options, const char *word)
{
    size_t length = strlen(word);
    bool begins = length && word[length - 1] == '=';
    for (const char *p = options; (p = strstr(p, word)); p += length)
        if ((p == options || p[-1] == ' ') && (begins || strchr(" ,", p[length])))
            return true;
    return false;
}

/* The words of a command line, but what a boot loader would have put in for a variable. */
static bool add_options(struct entry *e, char *line, bool shell)
{
    bool good = true;
    char *word;
    while (good && (word = word_next(&line, shell)))
        good = strchr(word, '$') || entry_add_word(e, word);
    return good;
}

static bool add_initrds(struct entry *e, char *line, bool shell)
{
    bool good = true;
    char *word;
    while (good && (word = word_next(&line, shell)))
        good = add_initrd(e, word);
    return good;
}

bool entry_read_bls(char *text, struct entry *out)
{
    bool good = true;
    char *line, *key;
    *out = (struct entry){0};
    while (good && (line = line_next(&text))) {
        key = word_next(&line, false);
        if (!key || *key == '#')
            continue;
        if (strcmp(key, "options") == 0)
            good = add_options(out, line, false);
        else if (strcmp(key, "initrd") == 0)
            good = add_initrds(out, line, false);
        else if (strcmp(key, "linux") == 0)
            good = (key = word_next(&line, false)) && put_path(out->kernel, key);
    }
    return good && out->kernel[0];
}

/* APPEND may have the initial file systems in it, with commas between them. */
static bool take_append(struct entry *e, char *line)
{
    bool good = true;
    char *word;
    while (good && (word = word_next(&line, false))) {
        if (strncasecmp(word, "initrd=", 7) != 0) {
            good = entry_add_word(e, word);
            continue;
        }
        for (char *path = word + 7; good && path;) {
            char *comma = strchr(path, ',');
            if (comma)
                *comma++ = '\0';
            good = add_initrd(e, path);
            path = comma;
        }
    }
    return good;
}

/* A line inside the label that is wanted. */
static bool take_line(struct entry *e, const char *key, char *rest)
{
    if (strcasecmp(key, "initrd") == 0)
        return add_initrds(e, rest, false);
    if (strcasecmp(key, "append") == 0)
        return take_append(e, rest);
    if (strcasecmp(key, "linux") != 0 && strcasecmp(key, "kernel") != 0)
        return true;
    const char *path = word_next(&rest, false);
    return path && put_path(e->kernel, path);
}

bool entry_read_extlinux(char *text, struct entry *out)
{
    const char *wanted = NULL; /* the first one */
    bool good = true, here = false;
    char *line;
    *out = (struct entry){0};
    while (good && (line = line_next(&text))) {
        const char *key = word_next(&line, false);
        if (!key || *key == '#')
            continue;
        if (strcasecmp(key, "default") == 0) {
            wanted = word_next(&line, false);
        } else if (strcasecmp(key, "label") == 0) {
            const char *label = word_next(&line, false);
            if (here && out->kernel[0])
                break;
            *out = (struct entry){0};
            here = !wanted || (label && strcasecmp(wanted, label) == 0);
        } else if (here) {
            good = take_line(out, key, line);
        }
    }
    return good && here && out->kernel[0];
}

bool entry_read_grub(char *text, struct entry *out)
{
    bool good = true;
    char *line, *key;
    *out = (struct entry){0};
    while (good && (line = line_next(&text))) {
        key = word_next(&line, true);
        if (!key)
            continue;
        if (strncmp(key, "linux", 5) == 0 && (!key[5] || strcmp(key + 5, "16") == 0 || strcmp(key + 5, "efi") == 0)) {
            if (out->kernel[0])
                break;
            good = (key = word_next(&line, true)) && put_path(out->kernel, key) && add_options(out, line, true);
        } else if (out->kernel[0] && strncmp(key, "initrd", 6) == 0) {
            good = add_initrds(out, line, true);
        } else if (out->kernel[0] && strcmp(key, "}") == 0) {
            break;
        }
    }
    return good && out->kernel[0];
}
