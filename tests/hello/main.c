#include "words.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    char line[LINE_LENGTH];
    unsigned letters = 0;
    FILE *file = argc > 1 ? fopen(argv[1], "r") : stdin;
    if (!file) {
        perror(argv[1]);
        return 1;
    }
    while (fgets(line, sizeof line, file)) {
        letters += count_letters(line);
        add_words(line);
    }
    printf("%u letters\n", letters);
    print_words(3);
    return 0;
}
