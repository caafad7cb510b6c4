#include "words.h"

#include <ctype.h>

unsigned count_letters(const char *text)
{
    unsigned count = 0;
    for (; *text; ++text)
        count += isalnum((unsigned char)*text) != 0;
    return count;
}
