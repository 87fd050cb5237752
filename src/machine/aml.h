/*
 * ACPI machine language, as far as a DSDT needs it: encoders that append terms to a run of bytes. ACPI
 * Specification 6.5, chapter 20 (AML) and section 6.4 (resource descriptors).
 *
 * A term with a package length is opened and closed: the opener returns a mark, aml_end puts the length in.
 *
 *     size_t dev = aml_device(a, "COM1");
 *     aml_name_is(a, "_HID");
 *     aml_eisaid(a, "PNP0501");
 *     aml_end(a, dev);
 */
#ifndef MACHINE_AML_H
#define MACHINE_AML_H

#include "machine/bytes.h"

/* A path like "\\_SB.PCI0.LNKA"; segments shorter than four characters are filled up. */
void aml_path(struct bytes *a, const char *path);
void aml_int(struct bytes *a, u64 value);
void aml_string(struct bytes *a, const char *text);
/* A compressed EISA identifier: "PNP0A03". */
void aml_eisaid(struct bytes *a, const char *id);

/* Openers. */
size_t aml_scope(struct bytes *a, const char *path);
size_t aml_device(struct bytes *a, const char *name);
size_t aml_method(struct bytes *a, const char *name, unsigned args, bool serialized);
size_t aml_package(struct bytes *a, u8 elements);
size_t aml_if(struct bytes *a);                        /* the predicate follows */
size_t aml_field(struct bytes *a, const char *region); /* byte access; units follow */
size_t aml_resources(struct bytes *a);                 /* a buffer of descriptors; closed by aml_resources_end */
void aml_end(struct bytes *a, size_t mark);
void aml_resources_end(struct bytes *a, size_t mark);

/* Name (path, ...): the value follows. */
void aml_name_is(struct bytes *a, const char *path);
void aml_name_int(struct bytes *a, const char *path, u64 value);
void aml_name_eisaid(struct bytes *a, const char *path, const char *id);

enum aml_space { AML_SYSTEM_MEMORY, AML_SYSTEM_IO, AML_PCI_CONFIG };
void aml_region(struct bytes *a, const char *name, enum aml_space space, u64 offset, u64 length);
/* A unit of aml_field. bit_count < 64. */
void aml_field_unit(struct bytes *a, const char *name, u8 bit_count);

/* Statements: operands follow, in order. */
void aml_return(struct bytes *a); /* value */
void aml_store(struct bytes *a);  /* value, target */
void aml_and(struct bytes *a);    /* x, y, target (aml_no_target for none) */
void aml_or(struct bytes *a);     /* x, y, target */
void aml_no_target(struct bytes *a);
void aml_arg(struct bytes *a, unsigned n);
void aml_create_dword_field(struct bytes *a); /* buffer, index, then aml_path of the new name */

/* Resource descriptors. */
void aml_res_io(struct bytes *a, u16 base, u8 length);
void aml_res_irq(struct bytes *a, u16 mask); /* edge, active high, exclusive: an ISA device */
void aml_res_dma(struct bytes *a, u8 mask);
void aml_res_memory32(struct bytes *a, u32 base, u32 length, bool writable);
/* Level, active high, shared: a PCI link. */
void aml_res_interrupts(struct bytes *a, const u32 *gsi, u8 count);
/* Windows of a host bridge: positions fixed, [first, last]. */
void aml_res_bus_numbers(struct bytes *a, u16 first, u16 last);
void aml_res_io_window(struct bytes *a, u16 first, u16 last);
void aml_res_memory_window(struct bytes *a, u32 first, u32 last);
void aml_res_memory64_window(struct bytes *a, u64 first, u64 last);

#endif
