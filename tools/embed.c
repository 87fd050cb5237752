/* embed NAME INPUT OUTPUT: writes a C file that defines const unsigned char NAME[] and const size_t NAME_size. Used by the build. */
#include <stdio.h>

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: embed NAME INPUT OUTPUT\n");
        return 2;
    }
    FILE *in = fopen(argv[2], "rb"), *out = fopen(argv[3], "w");
    if (!in || !out) {
        perror(in ? argv[3] : argv[2]);
        return 1;
    }
    fprintf(out, "#include <stddef.h>\nextern const unsigned char %s[];\nextern const size_t %s_size;\n", argv[1], argv[1]);
    fprintf(out, "const unsigned char %s[] = {", argv[1]);
    size_t size = 0;
    for (int ch; (ch = getc(in)) != EOF; size++)
        fprintf(out, "%s%d,", size % 24 ? "" : "\n", ch);
    fprintf(out, "\n};\nconst size_t %s_size = %zu;\n", argv[1], size);
    int failed = ferror(in) | ferror(out);
    fclose(in);
    return fclose(out) || failed;
}
