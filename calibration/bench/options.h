// A bench's options: each is asked for once, by name, with its default and bounds; what nobody asked for is refused.
// Part of harness.h, which has die() and append().
#ifndef OPTIONS_H
#define OPTIONS_H

static int option_count;
static char **option_words;
static char option_used[128];

static inline int option_find(const char *name)
{
    for (int i = 1; i < option_count; i++)
        if (!strncmp(option_words[i], "--", 2) && !strcmp(option_words[i] + 2, name)) {
            option_used[i] = 1;
            return i;
        }
    return 0;
}

static inline void option_key(const char *name)
{
    append(args_json, sizeof args_json, "%s\"%s\":", *args_json ? "," : "", name);
}

static inline const char *option_word(const char *name)
{
    int i = option_find(name);
    if (i && i + 1 >= option_count)
        die("--%s needs a value", name);
    if (i)
        option_used[i + 1] = 1;
    return i ? option_words[i + 1] : NULL;
}

static inline const char *option_text(const char *name, const char *otherwise)
{
    const char *text = option_word(name);
    text = text ? text : otherwise;
    option_key(name);
    if (text)
        json_string(args_json, sizeof args_json, text);
    else
        append(args_json, sizeof args_json, "null");
    return text;
}

static inline long option_long(const char *name, long otherwise, long least, long most)
{
    const char *text = option_word(name);
    char *end = NULL;
    long value = otherwise;
    if (text) {
        errno = 0;
        value = strtol(text, &end, 10);
        if (errno || *end || end == text || value < least || value > most)
            die("--%s %s is not a number from %ld to %ld", name, text, least, most);
    }
    option_key(name);
    append(args_json, sizeof args_json, "%ld", value);
    return value;
}

static inline bool option_flag(const char *name)
{
    bool set = option_find(name) != 0;
    option_key(name);
    append(args_json, sizeof args_json, set ? "true" : "false");
    return set;
}

static inline void one_of(const char *name, const char *word, const char *words)
{
    size_t length = strlen(word);
    for (const char *at = words; length && (at = strstr(at, word)); at += length)
        if ((at == words || at[-1] == ' ') && (at[length] == ' ' || !at[length]))
            return;
    die("--%s %s is none of: %s", name, word, words);
}

static inline void options_end(void)
{
    for (int i = 1; i < option_count; i++)
        if (!option_used[i])
            die("unknown option %s", option_words[i]);
}
#endif
