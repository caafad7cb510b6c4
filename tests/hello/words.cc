#include "words.h"

#include <algorithm>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

static std::map<std::string, unsigned> table;

void add_words(const char *line)
{
    std::istringstream words(line);
    for (std::string word; words >> word;)
        ++table[word];
}

void print_words(unsigned most)
{
    std::vector<std::pair<std::string, unsigned>> sorted(table.begin(), table.end());
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const auto &one, const auto &two) { return one.second > two.second; });
    for (std::size_t n = 0; n < sorted.size() && n < most; ++n)
        std::cout << sorted[n].second << ' ' << sorted[n].first << '\n';
}
