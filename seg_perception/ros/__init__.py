"""What knows a message: conversion, parameters, transforms, diagnostics."""
