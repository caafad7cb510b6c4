#pragma once

#ifdef __cplusplus
extern "C" {
#endif

/* Longest line, in bytes, that main reads whole. */
enum { LINE_LENGTH = 4096 };

/* Bytes that are letters or digits. */
unsigned count_letters(const char *text);
/* Adds the words of a line to the table. */
void add_words(const char *line);
/* Prints the most frequent words. */
void print_words(unsigned most);

#ifdef __cplusplus
}
#endif
