/** The library that makes certificates, 200 modules of them, with what its dependency injection needs to be there before. */
import 'reflect-metadata';

export * from '@peculiar/x509';
