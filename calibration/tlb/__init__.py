"""The TLB of this machine: what CPUID and the vendor's documents say of it, and what benches find. Imports are lazy."""
