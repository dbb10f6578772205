/* commands.h - the commands of the program; the list is commands.def. */
#ifndef CR_CLI_COMMANDS_H
#define CR_CLI_COMMANDS_H

#include "cli/options.h"

#define COMMAND(name) extern const cr_command cr_command_##name;
#include "cli/commands.def"
#undef COMMAND

/* The command line as typed, for provenance; owned by main. */
const char *cr_command_line(void);

#endif
